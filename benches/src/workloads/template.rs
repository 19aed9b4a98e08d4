//! How the user says what another emulator's command line is: `NAME=COMMAND` with placeholders.

use anyhow::Result;
use std::str::FromStr;

/// A value that is not known before the files are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placeholder {
    /// The kernel's file.
    Kernel,
    /// The initial RAM disk with the agent.
    Initrd,
    /// The root file system, a disk.
    Rootfs,
    /// A directory of the host to share.
    Share,
    /// The kernel's command line for a guest with the agent.
    Cmdline,
    /// The kernel's command line for a guest that is driven over its console.
    ConsoleCmdline,
    /// Memory of the guest in MiB.
    MemoryMib,
    /// Number of a descriptor that is a stream socket: the agent's port.
    AgentFd,
    /// Path of a Unix socket to connect to: the agent's port.
    AgentSocket,
    /// The program of a workload.
    Program,
    /// Its argument.
    Repeats,
}

const NAMES: [(&str, Placeholder); 11] = [
    ("kernel", Placeholder::Kernel),
    ("initrd", Placeholder::Initrd),
    ("rootfs", Placeholder::Rootfs),
    ("share", Placeholder::Share),
    ("cmdline", Placeholder::Cmdline),
    ("console_cmdline", Placeholder::ConsoleCmdline),
    ("memory_mib", Placeholder::MemoryMib),
    ("agent_fd", Placeholder::AgentFd),
    ("agent_socket", Placeholder::AgentSocket),
    ("program", Placeholder::Program),
    ("repeats", Placeholder::Repeats),
];

/// How an emulator is driven, which its placeholders tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drive {
    /// It boots, and the agent's port is a descriptor.
    AgentFd,
    /// It boots, and connects the agent's port to a socket.
    AgentSocket,
    /// It boots, and its serial console is on standard input and output.
    Console,
    /// It is started for one workload at a time.
    Program,
}

/// Why a template is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// No name, or no command.
    #[error("expected NAME=COMMAND")]
    NoCommand,
    /// The command cannot be split into words.
    #[error("a quotation has no end")]
    Quotes,
    /// Something in braces is not known.
    #[error("{{{0}}} is not a placeholder; there are {names}", names = names())]
    Unknown(String),
    /// It can be driven in more than one way.
    #[error("only one of {{agent_fd}}, {{agent_socket}} and {{program}} can be used")]
    Ambiguous,
}

fn names() -> String {
    NAMES.map(|(name, _)| format!("{{{name}}}")).join(" ")
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Placeholder),
}

/// A template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// What the emulator is called in the table.
    pub name: String,
    /// How it is driven.
    pub drive: Drive,
    words: Vec<Vec<Piece>>,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let (name, command) = text.split_once('=').ok_or(TemplateError::NoCommand)?;
        let words = shlex::split(command).ok_or(TemplateError::Quotes)?;
        if name.is_empty() || words.is_empty() {
            return Err(TemplateError::NoCommand);
        }
        let words = words.iter().map(|word| pieces(word)).collect::<Result<Vec<_>, _>>()?;
        let uses = |value| words.iter().flatten().any(|piece| *piece == Piece::Value(value));
        let drive = match [Placeholder::AgentFd, Placeholder::AgentSocket, Placeholder::Program].map(uses) {
            [false, false, false] => Drive::Console,
            [true, false, false] => Drive::AgentFd,
            [false, true, false] => Drive::AgentSocket,
            [false, false, true] => Drive::Program,
            _ => return Err(TemplateError::Ambiguous),
        };
        Ok(Self { name: name.to_string(), drive, words })
    }
}

/// Braces around anything but a name are just text: some emulators take JSON.
fn pieces(mut word: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    while let Some(open) = word.find('{') {
        let (before, rest) = word.split_at(open);
        text.push_str(before);
        let name = rest[1..].split_once('}').map(|(name, _)| name);
        match name
            .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        {
            Some(name) => {
                let found = NAMES.iter().find(|(known, _)| *known == name);
                let (_, value) = found.ok_or_else(|| TemplateError::Unknown(name.to_string()))?;
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Value(*value));
                word = &rest[name.len() + 2..];
            }
            None => {
                text.push('{');
                word = &rest[1..];
            }
        }
    }
    text.push_str(word);
    if !text.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

impl Template {
    /// The command's words with every placeholder replaced; a value with spaces does not become several words.
    ///
    /// # Errors
    /// What `value` returns for a placeholder that makes no sense here.
    pub fn fill(&self, mut value: impl FnMut(Placeholder) -> Result<String>) -> Result<Vec<String>> {
        let mut word = |pieces: &Vec<Piece>| -> Result<String> {
            let parts = pieces.iter().map(|piece| match piece {
                Piece::Text(text) => Ok(text.clone()),
                Piece::Value(placeholder) => value(*placeholder),
            });
            parts.collect()
        };
        self.words.iter().map(&mut word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(text: &str) -> Result<Drive, TemplateError> {
        text.parse::<Template>().map(|template| template.drive)
    }

    #[test]
    fn placeholders_tell_how_an_emulator_is_driven() {
        assert_eq!(drive("a=emu --fd {agent_fd}"), Ok(Drive::AgentFd));
        assert_eq!(drive("a=emu --port {agent_socket}"), Ok(Drive::AgentSocket));
        assert_eq!(drive("a=emu {kernel} {console_cmdline}"), Ok(Drive::Console));
        assert_eq!(drive("a=emu {program} {repeats}"), Ok(Drive::Program));
        assert_eq!(drive("a=emu {program} {agent_fd}"), Err(TemplateError::Ambiguous));
    }

    #[test]
    fn what_is_no_template_is_told() {
        for text in ["emu {kernel}", "=emu", "a=", "a=  "] {
            assert_eq!(drive(text), Err(TemplateError::NoCommand), "{text}");
        }
        assert_eq!(drive("a=emu 'x"), Err(TemplateError::Quotes));
        assert_eq!(drive("a=emu {kernal}"), Err(TemplateError::Unknown("kernal".into())));
    }

    #[test]
    fn words_are_split_before_values_come_in() {
        let text = r#"a=emu -m {memory_mib}M --kernel={kernel} "-append {cmdline}" '{"x": {}}' {} '{kernel'"#;
        let template: Template = text.parse().unwrap();
        let filled = template.fill(|placeholder| {
            Ok(match placeholder {
                Placeholder::Kernel => "my kernel".to_string(),
                Placeholder::MemoryMib => "512".to_string(),
                Placeholder::Cmdline => "quiet panic=-1".to_string(),
                other => anyhow::bail!("{other:?}"),
            })
        });
        let expected = [
            "emu",
            "-m",
            "512M",
            "--kernel=my kernel",
            "-append quiet panic=-1",
            r#"{"x": {}}"#,
            "{}",
            "{kernel",
        ];
        assert_eq!(filled.unwrap(), expected);
    }
}
