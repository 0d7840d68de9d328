//! Reading numbers, fields and addresses from bytes.

/// Removes spaces, tabs and carriage returns at both ends.
pub fn trim(text: &[u8]) -> &[u8] {
    trim_start(trim_end(text))
}

pub fn trim_start(mut text: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t' | b'\r', rest)) = text.split_first() {
        text = rest;
    }
    text
}

pub fn trim_end(mut text: &[u8]) -> &[u8] {
    while let Some((b' ' | b'\t' | b'\r', rest)) = text.split_last() {
        text = rest;
    }
    text
}

/// Splits at the first `separator`; the second part is empty without one.
pub fn split_at_first(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == separator)?;
    Some((text.get(..at)?, text.get(at.wrapping_add(1)..)?))
}

pub fn split_at_last(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().rposition(|byte| *byte == separator)?;
    Some((text.get(..at)?, text.get(at.wrapping_add(1)..)?))
}

/// Whether `text` holds `part`; the empty text is in every text.
pub fn contains(text: &[u8], part: &[u8]) -> bool {
    let (first, rest) = match part.split_first() {
        Some(parts) => parts,
        None => return true,
    };
    // By the first byte first: a hostile vendor may send a megabyte of the header that is searched.
    text.iter().enumerate().any(|(at, byte)| {
        byte == first
            && text.get(at.wrapping_add(1)..).map_or(false, |behind| {
                behind.len() >= rest.len()
                    && behind.iter().zip(rest).all(|(one, other)| one == other)
            })
    })
}

/// Reads decimal digits and nothing else.
pub fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |so_far, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        so_far.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

pub fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A').wrapping_add(10)),
        _ => None,
    }
}
