//! Private keys for ssh: what can be said of them before they are used.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::sensitive::Sensitive;

/// How the file of a key begins that OpenSSH wrote (`PROTOCOL.key`).
const OPENSSH: &[u8] = b"openssh-key-v1\0";

/// The key as libssh2 reads it.
///
/// # Errors
/// When it is none, or needs a passphrase; says what to do.
pub(super) fn readable(key: &Sensitive<String>) -> Result<Sensitive<String>, &'static str> {
    let text = key.expose().trim();
    if text.starts_with("PuTTY-User-Key-File") {
        return Err("the ssh key is in PuTTY's form: convert it with puttygen -O private-openssh");
    }
    if !(text.starts_with("-----BEGIN ") && text.contains("PRIVATE KEY-----")) {
        return Err("sshPrivateKey is no private key: it begins with -----BEGIN OPENSSH PRIVATE KEY----- or alike");
    }
    if text.contains("ENCRYPTED") || cipher(text).is_some_and(|cipher| cipher != b"none") {
        return Err("the ssh key is encrypted: store it without a passphrase (ssh-keygen -p -N '' -f FILE)");
    }
    Ok(Sensitive::new(format!("{}\n", text.replace('\r', ""))))
}

/// What a key of OpenSSH's form is encrypted with.
fn cipher(text: &str) -> Option<Vec<u8>> {
    let body: String = text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let bytes = Sensitive::new(STANDARD.decode(Sensitive::new(body).expose()).ok()?);
    let (length, rest) = bytes.expose().strip_prefix(OPENSSH)?.split_first_chunk::<4>()?;
    Some(rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn openssh(cipher: &str) -> String {
        let length = u32::try_from(cipher.len()).unwrap().to_be_bytes();
        let body = STANDARD.encode([OPENSSH, &length, cipher.as_bytes(), &[0; 40]].concat());
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\r\n{body}\r\n-----END OPENSSH PRIVATE KEY-----")
    }

    #[test]
    fn what_cannot_be_used_is_said_before() {
        let pem = |label: &str, head: &str| format!("-----BEGIN {label}-----\n{head}\nAAAA\n-----END {label}-----\n");
        for (text, word) in [
            (openssh("none"), ""),
            (openssh("aes256-ctr"), "encrypted"),
            (pem("RSA PRIVATE KEY", ""), ""),
            (pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"), "encrypted"),
            (pem("ENCRYPTED PRIVATE KEY", ""), "encrypted"),
            ("PuTTY-User-Key-File-3: ssh-ed25519".to_owned(), "puttygen"),
            ("ssh-ed25519 AAAA".to_owned(), "no private key"),
        ] {
            match readable(&Sensitive::new(text.clone())) {
                Ok(key) => {
                    assert!(word.is_empty() && key.expose().ends_with("-----\n") && !key.expose().contains('\r'));
                }
                Err(reason) => assert!(!word.is_empty() && reason.contains(word), "{text}: {reason}"),
            }
        }
    }
}
