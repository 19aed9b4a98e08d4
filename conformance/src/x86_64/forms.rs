//! Every instruction form: what encodings there are for each [`Code`], found by decoding all combinations of prefix,
//! operand size, opcode and ModRM byte.

use iced_x86::{Code, Decoder, DecoderOptions, EncodingKind, Instruction};
use std::collections::BTreeMap;

/// The opcode maps, by the bytes that select them.
const MAPS: [&[u8]; 4] = [&[], &[0x0f], &[0x0f, 0x38], &[0x0f, 0x3a]];
/// Prefixes that may select an instruction.
const SELECTORS: [Option<u8>; 4] = [None, Some(0x66), Some(0xf3), Some(0xf2)];

/// Encodings of one form that differ in their ModRM byte (or in the first byte behind the opcode) only.
#[derive(Clone, Debug)]
pub struct Template {
    /// 66, F2 or F3.
    pub selector: Option<u8>,
    /// With the address-size prefix.
    pub address_size: bool,
    /// With REX.W.
    pub wide: bool,
    /// Map and opcode.
    pub opcode: Vec<u8>,
    /// Values of the byte behind them.
    pub next: Vec<u8>,
}

/// The forms of a code size, 64 or 32 bits.
pub fn all(bits: u32) -> BTreeMap<Code, Vec<Template>> {
    let mut forms: BTreeMap<Code, Vec<Template>> = BTreeMap::new();
    let mut insn = Instruction::default();
    for selector in SELECTORS {
        for address_size in [false, true] {
            for wide in [false, true] {
                if wide && bits != 64 {
                    continue;
                }
                for map in MAPS {
                    for opcode in 0..=255u8 {
                        if map.is_empty() && is_prefix(opcode, bits) {
                            continue;
                        }
                        let opcode = [map, &[opcode]].concat();
                        let mut found: BTreeMap<Code, Vec<u8>> = BTreeMap::new();
                        let mut bytes = prefixes(selector, address_size, wide);
                        bytes.extend(&opcode);
                        let next_at = bytes.len();
                        bytes.resize(24, 0);
                        for next in 0..=255 {
                            bytes[next_at] = next;
                            Decoder::new(bits, &bytes, DecoderOptions::NONE).decode_out(&mut insn);
                            let code = insn.code();
                            if code != Code::INVALID && code.encoding() == EncodingKind::Legacy {
                                found.entry(code).or_default().push(next);
                            }
                        }
                        for (code, next) in found {
                            let opcode = opcode.clone();
                            let template = Template { selector, address_size, wide, opcode, next };
                            forms.entry(code).or_default().push(template);
                        }
                    }
                }
            }
        }
    }
    forms
}

/// Prefixes in the order of the manual, REX last.
pub fn prefixes(selector: Option<u8>, address_size: bool, wide: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    bytes.extend(selector);
    if address_size {
        bytes.push(0x67);
    }
    if wide {
        bytes.push(0x48);
    }
    bytes
}

/// Whether the first byte of an instruction does not belong to its opcode, or selects another map or encoding.
fn is_prefix(byte: u8, bits: u32) -> bool {
    let legacy = matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3 | 0x0f);
    legacy || bits == 64 && matches!(byte, 0x40..=0x4f)
}
