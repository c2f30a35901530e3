//! Bytes as text: templates work on text, values may be any bytes. Bytes that are not UTF-8 travel as private characters.

const FIRST: u32 = 0x10_FE00;

/// Text for bytes.
pub(super) fn to_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(FIRST + u32::from(*byte))));
    }
    text
}

/// The bytes again.
pub(super) fn from_text(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match u8::try_from(u32::from(c).wrapping_sub(FIRST)) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        for bytes in [&b"plain"[..], "ä€𝄞".as_bytes(), &[0, 159, 146, 150, b'x', 0xff], &[0xc3]] {
            assert_eq!(from_text(&to_text(bytes)), bytes);
        }
    }
}
