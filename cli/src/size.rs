//! Memory sizes on the command line: `512M`, `1G`, `67108864`.

/// Reads a size in bytes: a number with an optional suffix `k`, `m`, `g` (powers of 1024), `b` or none.
///
/// # Errors
/// A sentence for the user.
pub fn parse(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let digits = lower.trim_end_matches(['k', 'm', 'g']);
    let shift = match &lower[digits.len()..] {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        _ => return Err(format!("{text:?} is not a size; write for instance 512M")),
    };
    let number: u64 =
        digits.parse().map_err(|_| format!("{text:?} is not a size; write for instance 512M"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("{text:?} is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, want) in
            [("512M", 512 << 20), ("1g", 1 << 30), ("64MiB", 64 << 20), ("4096", 4096), ("2KB", 2048)]
        {
            assert_eq!(parse(text), Ok(want), "{text}");
        }
        for text in ["", "M", "-1", "1T", "1.5G", "99999999999G", "1mm"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
