//! The text of instruction cases: one line is machine code, its disassembly, inputs and outputs.
//!
//! `[1b 85 15 00] "addiw a0, a1, 1"  a1 = 0x7fff_ffff => a0 = 0xffff_ffff_8000_0000`
//!
//! A place is a register by name or memory as `[address]:w8|w16|w32|w64`. A value is a number, decimal or
//! hexadecimal, or a floating-point number followed by its format: `1.5d` is the pattern of a double, `1.5s` that of
//! a single in a 64-bit register. Lines that are empty or start with `#` say nothing to the machine.

use std::fmt::Write as _;

/// Where a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a register.
    Register(String),
    /// In memory.
    Memory {
        /// Of the first byte.
        address: u64,
        /// 1, 2, 4 or 8.
        bytes: u64,
    },
}

/// A place and the value it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where.
    pub place: Place,
    /// What.
    pub value: u64,
}

/// One case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Line of the file, counted from 1.
    pub line: usize,
    /// Machine code of one or more instructions.
    pub code: Vec<u8>,
    /// Disassembly; instructions are separated by "; ".
    pub text: String,
    /// State before; everything else is zero or as reset leaves it.
    pub inputs: Vec<Setting>,
    /// What differs afterwards.
    pub outputs: Vec<Setting>,
}

/// Why a line is no case.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// The machine code is not in brackets, or not hexadecimal bytes.
    #[error("expected machine code as `[1b 85 15 00]`")]
    Code,
    /// The disassembly is not in quotation marks.
    #[error("expected the disassembly in quotation marks")]
    Text,
    /// There is no `=>`.
    #[error("expected `=>` between inputs and outputs")]
    Arrow,
    /// Not `place = value`.
    #[error("expected `place = value`, found `{0}`")]
    Setting(String),
}

/// Parses a line; `None` if it is empty or a comment.
///
/// # Errors
/// The line is neither.
pub fn parse(line: usize, text: &str) -> Result<Option<Case>, CaseError> {
    let text = text.trim();
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let (code, rest) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).ok_or(CaseError::Code)?;
    let code = code.split_whitespace().map(|byte| u8::from_str_radix(byte, 16));
    let code = code.collect::<Result<Vec<u8>, _>>().map_err(|_| CaseError::Code)?;
    let quoted = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split_once('"'));
    let (disassembly, rest) = quoted.ok_or(CaseError::Text)?;
    let (inputs, outputs) = rest.split_once("=>").ok_or(CaseError::Arrow)?;
    Ok(Some(Case {
        line,
        code,
        text: disassembly.to_owned(),
        inputs: settings(inputs)?,
        outputs: settings(outputs)?,
    }))
}

fn settings(text: &str) -> Result<Vec<Setting>, CaseError> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    parts.map(|part| setting(part).ok_or_else(|| CaseError::Setting(part.to_owned()))).collect()
}

fn setting(text: &str) -> Option<Setting> {
    let (place, value) = text.split_once('=')?;
    Some(Setting { place: self::place(place.trim())?, value: self::value(value.trim())? })
}

fn place(text: &str) -> Option<Place> {
    let Some(rest) = text.strip_prefix('[') else {
        return (!text.is_empty()).then(|| Place::Register(text.to_owned()));
    };
    let (address, width) = rest.split_once("]:w")?;
    let bytes = match width {
        "8" => 1,
        "16" => 2,
        "32" => 4,
        "64" => 8,
        _ => return None,
    };
    Some(Place::Memory { address: value(address)?, bytes })
}

/// The bit pattern that a value stands for.
fn value(text: &str) -> Option<u64> {
    let text = text.replace('_', "");
    if let Some(hex) = text.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    if let Some(double) = text.strip_suffix('d') {
        return double.parse::<f64>().ok().map(f64::to_bits);
    }
    if let Some(single) = text.strip_suffix('s') {
        return single.parse::<f32>().ok().map(|number| BOX | u64::from(number.to_bits()));
    }
    text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(|number| number as u64))
}

/// The upper half of a 64-bit register that holds a single.
const BOX: u64 = 0xffff_ffff_0000_0000;

/// Writes a case as a line.
pub fn render(case: &Case) -> String {
    let code: Vec<String> = case.code.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut line = format!("[{}] \"{}\" ", code.join(" "), case.text);
    for (separator, settings) in [("", &case.inputs), ("=>", &case.outputs)] {
        line.push_str(separator);
        for (i, setting) in settings.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            let value = render_value(&setting.place, setting.value);
            // Writing to a string cannot fail.
            let _ = match &setting.place {
                Place::Register(name) => write!(line, "{comma} {name} = {value}"),
                Place::Memory { address, bytes } => {
                    write!(line, "{comma} [{}]:w{} = {value}", grouped_hex(*address), 8 * bytes)
                }
            };
        }
        line.push(' ');
    }
    line.truncate(line.trim_end().len());
    line
}

/// Longest text of a floating-point number that is preferred to its bit pattern.
const LONGEST_FLOAT: usize = 12;

fn render_value(place: &Place, bits: u64) -> String {
    if matches!(place, Place::Register(name) if is_float_register(name)) {
        let single = f32::from_bits(bits as u32);
        let double = f64::from_bits(bits);
        let text = if bits & BOX == BOX { format!("{single}s") } else { format!("{double}d") };
        if value(&text) == Some(bits) && text.len() <= LONGEST_FLOAT {
            return text;
        }
    }
    if (-1024..1024).contains(&(bits as i64)) { (bits as i64).to_string() } else { grouped_hex(bits) }
}

fn is_float_register(name: &str) -> bool {
    name.starts_with("fa") || name.starts_with("fs") || name.starts_with("ft")
}

/// Hexadecimal in groups of four digits.
fn grouped_hex(bits: u64) -> String {
    let digits = format!("{bits:x}");
    let groups: Vec<&str> =
        digits.as_bytes().rchunks(4).rev().filter_map(|g| str::from_utf8(g).ok()).collect();
    format!("0x{}", groups.join("_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_written_as_it_is_read() {
        let lines = [
            r#"[1b 85 15 00] "addiw a0, a1, 1"  a1 = 0x7fff_ffff => a0 = 0xffff_ffff_8000_0000"#,
            r#"[01 02] "x"  fa0 = 1.5d, fa1 = -0s, [0x8000_1000]:w32 = -1 => trap = 2"#,
            r#"[] ""  =>"#,
        ];
        for line in lines {
            assert_eq!(render(&parse(1, line).unwrap().unwrap()), line);
        }
        assert_eq!(parse(1, "# said").unwrap(), None);
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |line| parse(1, line).unwrap_err();
        assert_eq!(wrong("1b 85"), CaseError::Code);
        assert_eq!(wrong("[1x] \"\" =>"), CaseError::Code);
        assert_eq!(wrong("[1b] addi =>"), CaseError::Text);
        assert_eq!(wrong("[1b] \"addi\" a0 = 1"), CaseError::Arrow);
        assert_eq!(wrong("[1b] \"addi\" a0 = y => "), CaseError::Setting("a0 = y".to_owned()));
        assert_eq!(wrong("[1b] \"addi\" [1]:w7 = 1 => "), CaseError::Setting("[1]:w7 = 1".to_owned()));
    }
}
