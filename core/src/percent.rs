//! Percent-encoding (RFC 3986, 2.1).

/// The bytes of a text with `%XX` in it; `None` when a `%` stands before anything else.
pub fn decoded(text: &str) -> Option<Vec<u8>> {
    let decoded = decoded_where_it_is(text);
    let encoded = text.bytes().filter(|byte| *byte == b'%').count();
    (text.len() - decoded.len() == 2 * encoded).then_some(decoded)
}

/// The same, where a `%` before anything else stands for itself.
pub fn decoded_where_it_is(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok());
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        let byte = match (first, tail) {
            (b'%', [high, low, tail @ ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4 | low, tail)),
            _ => None,
        };
        let (byte, tail) = byte.unwrap_or((first, tail));
        bytes.push(byte);
        rest = tail;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        for (text, strict, lenient) in [
            ("me:p%40ss", Some("me:p@ss"), "me:p@ss"),
            ("a%2Fb%2fc", Some("a/b/c"), "a/b/c"),
            ("%25%34", Some("%4"), "%4"),
            ("100%", None, "100%"),
            ("%4", None, "%4"),
            ("%zz%41", None, "%zzA"),
            ("%+1", None, "%+1"),
            ("", Some(""), ""),
        ] {
            assert_eq!(decoded(text), strict.map(|text| text.as_bytes().to_vec()), "{text}");
            assert_eq!(decoded_where_it_is(text), lenient.as_bytes(), "{text}");
        }
    }
}
