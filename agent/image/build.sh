#!/usr/bin/env bash
# Builds the agent's container image as an OCI archive, with buildah or docker.
#
#   agent/image/build.sh AGENT OUT [NAME:TAG]
#
# AGENT is the built gitmoor-agent, OUT the archive (docker, podman and skopeo load it). The same
# files at the same commit give the same image: every time in it is that of the commit.
set -euo pipefail
# Whatever the caller's is: the agent reads these files as another user.
umask 022

agent=$1
out=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
name=${3:-gitmoor-agent:$version}
commit=$(git -C "$root" rev-parse HEAD)
epoch=$(git -C "$root" log -1 --format=%ct)
certificates=/etc/ssl/certs/ca-certificates.crt

fail() {
    printf 'image: %s\n' "$*" >&2
    exit 1
}

[[ -f $certificates ]] || fail "$certificates is missing: install ca-certificates (Debian: apt install ca-certificates)"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree
mkdir -p "$tree"/{usr/bin,etc/ssl/certs,tmp,scratch,var/lib/gitmoor}
# A runtime may give what it mounts there the mode that it finds.
chmod 1777 "$tree"/{tmp,scratch,var/lib/gitmoor}
install -m 755 "$agent" "$tree/usr/bin/gitmoor-agent"
strip "$tree/usr/bin/gitmoor-agent"
for program in kustomize helm; do
    install -m 755 "$root/target/tools/bin/$program" "$tree/usr/bin/$program"
    strip "$tree/usr/bin/$program"
done

# Only glibc resolves names as the rest of the cluster does: its files come along, where the loader looks
# for them. NSS modules for files and DNS are part of it since glibc 2.34.
ldd "$agent" | awk '/=> \// { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    install -D -m 755 "$(readlink -f "$library")" "$tree$library"
done
printf 'hosts: files dns\n' >"$tree/etc/nsswitch.conf"
printf 'gitmoor:x:65532:65532::/tmp:/sbin/nologin\n' >"$tree/etc/passwd"
printf 'gitmoor:x:65532:\n' >"$tree/etc/group"
install -m 644 "$certificates" "$tree$certificates"
find "$tree" -exec touch --no-dereference --date="@$epoch" {} +

# Megabytes of 10^6 bytes, as registries count.
size() { du -sb --apparent-size "$1" | awk '{ printf "%.1f", $1 / 1000000 }'; }
# AT_MOST_AGENT and AT_MOST_IMAGE, in MB: what a release may weigh. A debug build weighs more.
within() {
    awk -v size="$(size "$2")" -v most="$3" 'BEGIN { exit !(size <= most) }' || fail "$1 has $(size "$2") MB, and may have $3"
}
[ -z "${AT_MOST_AGENT-}" ] || within "the agent's binary" "$tree/usr/bin/gitmoor-agent" "$AT_MOST_AGENT"
[ -z "${AT_MOST_IMAGE-}" ] || within "the image" "$tree" "$AT_MOST_IMAGE"

labels=(--label "org.opencontainers.image.version=$version" --label "org.opencontainers.image.revision=$commit")
rm -f "$out"
if command -v buildah >/dev/null; then
    # Its own store: nothing of the machine's is touched, and nothing stays.
    store=(--root "$scratch/store" --runroot "$scratch/run" --storage-driver vfs)
    buildah "${store[@]}" build --quiet --format oci --isolation chroot --timestamp "$epoch" "${labels[@]}" \
        --file "$here/Containerfile" --tag "$name" "$tree" >/dev/null
    buildah "${store[@]}" push --quiet "$name" "oci-archive:$out:$name"
elif command -v docker >/dev/null; then
    SOURCE_DATE_EPOCH=$epoch docker build --quiet "${labels[@]}" --file "$here/Containerfile" --tag "$name" \
        --output "type=oci,dest=$out,rewrite-timestamp=true" "$tree" >/dev/null
else
    fail "neither buildah nor docker is there (Debian: apt install buildah)"
fi
printf 'image: %s, %s MB unpacked, %s MB packed: %s\n' "$name" "$(size "$tree")" "$(size "$out")" "$out"
