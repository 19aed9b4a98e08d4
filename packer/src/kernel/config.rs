//! Kernel configuration fragments: what they ask for, and whether a resolved configuration still
//! has it. Kconfig drops an option without a word when something it depends on is off or its name
//! has changed; here that is an error.

use std::collections::BTreeMap;
use std::fmt;

/// What all guests have in common.
const COMMON: &str = include_str!("../../kernel/common.config");
/// The options of RISC-V and of its board.
const RISCV64: &str = include_str!("../../kernel/riscv64.config");
/// The options of x86_64 and of its board.
const X86_64: &str = include_str!("../../kernel/x86_64.config");

/// The complete fragment of an architecture.
pub(super) fn fragment(arch: crate::image::Arch) -> String {
    let own = match arch {
        crate::image::Arch::Riscv64 => RISCV64,
        crate::image::Arch::X86_64 => X86_64,
    };
    format!("{COMMON}\n{own}")
}

/// An option and what a fragment or a configuration says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice<'a> {
    name: &'a str,
    /// The text after `=`; `None` for "is not set".
    value: Option<&'a str>,
}

/// An option that a resolved configuration has otherwise than asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostOption {
    /// The option's name with `CONFIG_`.
    pub name: String,
    /// The value asked for; `None` for "is not set".
    pub wanted: Option<String>,
    /// The value it has now; `None` if it is off or unknown.
    pub found: Option<String>,
}

impl fmt::Display for LostOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "off".to_owned());
        write!(f, "{} (wanted {}, is {})", self.name, text(&self.wanted), text(&self.found))
    }
}

/// The options of `fragment` that `resolved`, the text of a `.config`, does not have as asked.
pub(super) fn lost(fragment: &str, resolved: &str) -> Vec<LostOption> {
    let found: BTreeMap<&str, Option<&str>> =
        resolved.lines().filter_map(parse_line).map(|choice| (choice.name, choice.value)).collect();
    let wanted = fragment.lines().filter_map(parse_line);
    wanted
        .map(|choice| (choice.name, choice.value, found.get(choice.name).copied().flatten()))
        .filter(|(_, wanted, found)| wanted != found)
        .map(|(name, wanted, found)| LostOption {
            name: name.to_owned(),
            wanted: wanted.map(str::to_owned),
            found: found.map(str::to_owned),
        })
        .collect()
}

/// The choice a line makes; `None` for comments and empty lines. `=n` means "is not set".
fn parse_line(line: &str) -> Option<Choice<'_>> {
    let line = line.trim();
    let (name, value) = match line.strip_prefix("# ") {
        Some(comment) => (comment.strip_suffix(" is not set")?, None),
        None => {
            line.split_once('=').map(|(name, value)| (name, Some(value).filter(|value| *value != "n")))?
        }
    };
    let is_name =
        name.starts_with("CONFIG_") && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    is_name.then_some(Choice { name, value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Arch;
    use std::collections::BTreeSet;

    #[test]
    fn lines_are_choices_or_comments() {
        let choice = |name, value| Some(Choice { name, value });
        for (line, parsed) in [
            ("CONFIG_A=y", choice("CONFIG_A", Some("y"))),
            ("  CONFIG_A=n", choice("CONFIG_A", None)),
            ("# CONFIG_A_2 is not set", choice("CONFIG_A_2", None)),
            ("CONFIG_S=\"a=b\"", choice("CONFIG_S", Some("\"a=b\""))),
            ("# CONFIG_A is needed", None),
            ("# with CONFIG_A is not set", None),
            ("", None),
            ("A=y", None),
        ] {
            assert_eq!(parse_line(line), parsed, "{line}");
        }
    }

    #[test]
    fn what_did_not_survive_is_found() {
        let fragment = "# why\nCONFIG_KEPT=y\nCONFIG_NUMBER=16\nCONFIG_GONE=y\nCONFIG_OTHER=4\nCONFIG_MODULE=y\n# CONFIG_OFF is not set\n# CONFIG_ON is not set\nCONFIG_N=n\n";
        let resolved = "#\n# a comment\nCONFIG_KEPT=y\nCONFIG_NUMBER=16\nCONFIG_OTHER=5\nCONFIG_MODULE=m\nCONFIG_ON=y\n# CONFIG_OFF is not set\n";
        let lost: Vec<String> = lost(fragment, resolved).iter().map(ToString::to_string).collect();
        assert_eq!(
            lost,
            [
                "CONFIG_GONE (wanted y, is off)",
                "CONFIG_OTHER (wanted 4, is 5)",
                "CONFIG_MODULE (wanted y, is m)",
                "CONFIG_ON (wanted off, is y)",
            ]
        );
    }

    #[test]
    fn fragments_have_no_stray_lines_and_state_each_option_once() {
        for arch in [Arch::Riscv64, Arch::X86_64] {
            let text = fragment(arch);
            let mut names = BTreeSet::new();
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                match parse_line(line) {
                    Some(choice) => assert!(names.insert(choice.name), "{arch}: {line} twice"),
                    None => assert!(
                        line.starts_with("# ") || line == "#",
                        "{arch}: {line:?} is neither an option nor a comment"
                    ),
                }
            }
        }
    }
}
