//! One sealed value: `HybridEncrypt` and `HybridDecrypt` of `pkg/crypto/crypto.go`.
//!
//! ```text
//! length of the RSA ciphertext (2 bytes, big-endian) | RSA-OAEP(session key) | AES-256-GCM(value) with its tag
//! ```
//!
//! OAEP is RFC 8017 with SHA-256 for hash and mask, and the scope's label. The nonce is all zero, because a session
//! key seals one value only.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    error::Unspecified,
    rand,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey},
};
use zeroize::Zeroizing;

use crate::sensitive::Sensitive;

const SESSION_KEY: usize = 32;
const LENGTH: usize = 2;

/// Seals a value under a label.
pub(super) fn seal(key: &OaepPublicEncryptingKey, label: &[u8], value: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let mut session_key = Zeroizing::new([0; SESSION_KEY]);
    rand::fill(&mut *session_key)?;
    let rsa_length = key.ciphertext_size();
    let start = LENGTH + rsa_length;
    let mut sealed = Vec::with_capacity(start + value.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(&u16::try_from(rsa_length).map_err(|_| Unspecified)?.to_be_bytes());
    sealed.resize(start, 0);
    key.encrypt(&OAEP_SHA256_MGF1SHA256, &*session_key, &mut sealed[LENGTH..], given(label))?;
    sealed.extend_from_slice(value);
    let tag = aes(&*session_key)?.seal_in_place_separate_tag(zero_nonce(), Aad::empty(), &mut sealed[start..])?;
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

/// Opens a value that was sealed under the label for this key.
pub(super) fn open(
    key: &OaepPrivateDecryptingKey,
    label: &[u8],
    sealed: &[u8],
) -> Result<Sensitive<Vec<u8>>, Unspecified> {
    let (length, rest) = sealed.split_first_chunk::<LENGTH>().ok_or(Unspecified)?;
    let (encrypted_key, encrypted) = rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(Unspecified)?;
    let mut buffer = Zeroizing::new(vec![0; key.min_output_size()]);
    let session_key = key.decrypt(&OAEP_SHA256_MGF1SHA256, encrypted_key, &mut buffer, given(label))?;
    let mut value = Zeroizing::new(encrypted.to_vec());
    let length = aes(session_key)?.open_in_place(zero_nonce(), Aad::empty(), &mut value)?.len();
    value.truncate(length);
    Ok(Sensitive::new(std::mem::take(&mut *value)))
}

// An empty label and none are the same to OAEP, but not to the library.
fn given(label: &[u8]) -> Option<&[u8]> {
    Some(label).filter(|label| !label.is_empty())
}

fn aes(session_key: &[u8]) -> Result<LessSafeKey, Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, session_key)?))
}

fn zero_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}
