#!/usr/bin/env bash
# Puts the real parts that tests, demo and benches run on into target/tools/bin.
#
#   tests/tools/build.sh           all of them
#   tests/tools/build.sh NAME...   some of them
#   tests/tools/build.sh --list    their names and pinned versions
#
# Each is built from source by the Go module beside this script (moto: a Python
# venv); what is there in its pinned version is skipped. A program of a fitting
# version in $KUBEBUILDER_ASSETS or on PATH is linked instead of built. buildah
# and runc, which only the test of the container image needs, and sshd are
# Debian's packages. Nothing else that is prebuilt is downloaded.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
tools=$root/target/tools
bin=$tools/bin
stamps=$tools/stamps

kubernetes=1.36.3
component=k8s.io/component-base/version
kube_ldflags="-X $component.gitVersion=v$kubernetes -X $component.gitMajor=1 -X $component.gitMinor=36 -X $component.gitTreeState=clean"

# name | version | module folder | package | ldflags | how it tells its version | versions that fit
# In the order in which they are needed.
go_tools=(
    "kustomize|5.8.1|kustomize|sigs.k8s.io/kustomize/kustomize/v5|-X sigs.k8s.io/kustomize/api/provenance.version=v5.8.1|version|v5\.8\."
    "etcd|3.6.5|etcd|go.etcd.io/etcd/server/v3||--version|Version: 3\.[56]\."
    "kube-apiserver|$kubernetes|kubernetes|k8s.io/kubernetes/cmd/kube-apiserver|$kube_ldflags|--version|v1\.36\."
    "kubectl|$kubernetes|kubernetes|k8s.io/kubernetes/cmd/kubectl|$kube_ldflags|version --client|v1\.3[567]\."
    "kwok|0.8.0|kwok|sigs.k8s.io/kwok/cmd/kwok||--version|v?0\.8\."
    "kube-controller-manager|$kubernetes|kubernetes|k8s.io/kubernetes/cmd/kube-controller-manager|$kube_ldflags|--version|v1\.36\."
    "kube-scheduler|$kubernetes|kubernetes|k8s.io/kubernetes/cmd/kube-scheduler|$kube_ldflags|--version|v1\.36\."
    "helm|3.22.0|helm|helm.sh/helm/v3/cmd/helm|-X helm.sh/helm/v3/internal/version.version=v3.22.0|version --short|v3\.22\."
    "kubeseal|0.32.2|sealed-secrets|github.com/bitnami-labs/sealed-secrets/cmd/kubeseal|-X main.VERSION=0.32.2|--version|0\.32\."
    "sealed-secrets-controller|0.32.2|sealed-secrets|github.com/bitnami-labs/sealed-secrets/cmd/controller|-X main.VERSION=0.32.2|--version|0\.32\."
)
moto=5.2.5

say() { printf 'tools: %s\n' "$*"; }
fail() {
    printf 'tools: %s\n' "$*" >&2
    exit 1
}

# is_there NAME VERSION PROGRAM: the program runs and was put there for this version.
is_there() {
    [[ -x $3 && -f $stamps/$1 && $(<"$stamps/$1") == "$2" ]]
}

need_go() {
    command -v go >/dev/null ||
        fail "go is missing: install Go 1.26 or newer (https://go.dev/doc/install)"
    local have
    have=$(GOTOOLCHAIN=local go env GOVERSION)
    [[ $have =~ ^go1\.([0-9]+) && ${BASH_REMATCH[1]} -ge 26 ]] ||
        fail "$have is too old: install Go 1.26 or newer (https://go.dev/doc/install)"
}

need_python() {
    command -v python3 >/dev/null ||
        fail "python3 is missing: install Python 3.11 or newer (Debian: apt install python3-venv)"
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$(python3 --version) is too old: install Python 3.11 or newer"
    python3 -c 'import venv, ensurepip' 2>/dev/null ||
        fail "python3 cannot make a venv: install its venv module (Debian: apt install python3-venv)"
}

# find_fitting NAME VERSION-ARGUMENTS PATTERN: prints the path of an installed program that fits.
find_fitting() {
    local candidate version
    for candidate in "${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/$1}" "$(type -P "$1" || true)"; do
        [[ -n $candidate && -x $candidate ]] || continue
        # shellcheck disable=SC2086 # the arguments are words
        version=$("$candidate" $2 2>/dev/null) || continue
        [[ $version =~ $3 ]] || continue
        # An absolute path, and never a link to what this script made.
        candidate=$(cd "$(dirname "$candidate")" && pwd)/$(basename "$candidate")
        [[ $candidate != "$bin"/* ]] || continue
        printf '%s\n' "$candidate"
        return
    done
}

put_go_tool() {
    local name version module package ldflags version_args fits
    IFS='|' read -r name version module package ldflags version_args fits <<<"$1"
    if is_there "$name" "$version" "$bin/$name"; then return; fi

    local fitting started=$SECONDS
    fitting=$(find_fitting "$name" "$version_args" "$fits")
    if [[ -n $fitting ]]; then
        ln -sf "$fitting" "$bin/$name"
        say "$name: using $fitting"
    else
        need_go
        say "$name $version: building"
        (
            cd "$here/$module"
            CGO_ENABLED=0 GOWORK=off GOTOOLCHAIN=local GOFLAGS=-mod=readonly \
                go build -trimpath -ldflags "-s -w $ldflags" -o "$bin/.$name.new" "$package"
        ) || fail "$name $version did not build (needs the Go module proxy: see 'go env GOPROXY')"
        rm -f "$bin/$name"
        mv "$bin/.$name.new" "$bin/$name"
        say "$name $version: built in $((SECONDS - started)) s"
    fi
    printf '%s\n' "$version" >"$stamps/$name"
}

put_moto() {
    local venv=$tools/venv started=$SECONDS
    if is_there moto "$moto" "$venv/bin/moto_server"; then return; fi
    need_python
    say "moto $moto: installing"
    rm -rf "$venv"
    python3 -m venv "$venv" || fail "python3 -m venv failed (Debian: apt install python3-venv)"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/moto/requirements.txt" ||
        fail "moto $moto did not install (needs PyPI: see 'pip config list')"
    printf '%s\n' "$moto" >"$stamps/moto"
    say "moto $moto: installed in $((SECONDS - started)) s"
}

# Debian's packages: what builds the container image, and what starts it; the SSH server that tests fetch from.
put_packages() {
    local missing=()
    command -v buildah >/dev/null || missing+=(buildah)
    PATH=$PATH:/usr/sbin command -v runc >/dev/null || missing+=(runc)
    [[ -x /usr/sbin/sshd ]] || missing+=(openssh-server)
    if ((${#missing[@]} == 0)); then return; fi
    command -v apt-get >/dev/null && [[ $(id -u) == 0 ]] ||
        fail "${missing[*]} missing: install with your package manager (Debian, as root: apt install ${missing[*]})"
    say "${missing[*]}: installing"
    install_packages() { DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends "$@"; }
    install_packages "${missing[@]}" >/dev/null 2>&1 ||
        { apt-get update --quiet --quiet && install_packages "${missing[@]}" >/dev/null; } ||
        fail "${missing[*]} did not install (needs Debian's packages: see /etc/apt/sources.list)"
}

names() {
    local tool
    for tool in "${go_tools[@]}"; do printf '%s\n' "${tool%%|*}"; done
    printf 'moto\npackages\n'
}

list() {
    local tool name version
    for tool in "${go_tools[@]}"; do
        IFS='|' read -r name version _ <<<"$tool"
        printf '%s %s\n' "$name" "$version"
    done
    printf 'moto %s\n' "$moto"
    printf 'packages buildah, runc, openssh-server\n'
}

if [[ ${1:-} == --list ]]; then
    list
    exit
fi
wanted=" ${*:-$(names | tr '\n' ' ')} "
for name in $wanted; do
    # No pipe into a grep that leaves at the first match: the writer's broken pipe would count as a failure.
    [[ $'\n'$(names)$'\n' == *$'\n'"$name"$'\n'* ]] || fail "no tool is called '$name': see $0 --list"
done

command -v git >/dev/null || fail "git is missing: install git (Debian: apt install git)"
mkdir -p "$bin" "$stamps"
if command -v flock >/dev/null; then
    exec 9>"$tools/lock"
    flock --nonblock 9 || { say "waiting for another build of the tools" && flock 9; }
fi

for tool in "${go_tools[@]}"; do
    if [[ $wanted == *" ${tool%%|*} "* ]]; then put_go_tool "$tool"; fi
done
if [[ $wanted == *" moto "* ]]; then put_moto; fi
if [[ $wanted == *" packages "* ]]; then put_packages; fi
say "ready in ${bin#"$PWD"/}"
