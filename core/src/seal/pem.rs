//! PEM (RFC 7468), as much as certificates and keys need. Text around the blocks is ignored.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::{Zeroize, Zeroizing};

/// One block.
pub(super) struct Block<'t> {
    /// Such as `CERTIFICATE`.
    pub(super) label: &'t str,
    /// Its bytes; `None` when they are not base64, as with encrypted keys of the old form.
    pub(super) bytes: Option<Zeroizing<Vec<u8>>>,
}

/// The blocks of a text, in its order.
pub(super) fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once("-----BEGIN ") {
        let Some((label, body)) = begun.split_once("-----") else { break };
        let Some((content, after)) = body.split_once(&format!("-----END {label}-----")) else {
            blocks.push(Block { label, bytes: None });
            break;
        };
        blocks.push(Block { label, bytes: decode(content) });
        rest = after;
    }
    blocks
}

fn decode(content: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut compact = String::with_capacity(content.len());
    compact.extend(content.split_ascii_whitespace());
    let bytes = STANDARD.decode(&compact).ok().map(Zeroizing::new);
    compact.zeroize();
    bytes
}

/// A block as text, in lines of 64 characters.
pub(super) fn encode(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text + "-----END " + label + "-----\n"
}
