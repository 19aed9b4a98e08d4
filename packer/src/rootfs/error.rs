//! Why a root filesystem could not be made. Entry names in messages are escaped: they are bytes of
//! a stranger, and a message is one line.

use std::io;
use std::path::PathBuf;

/// Why a source could not become a filesystem image. Says nothing about which source or target:
/// the caller knows both.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    /// The source could not be read.
    #[error("{0}")]
    Input(io::Error),
    /// A file below a source directory could not be read.
    #[error("{}: {source}", path.display())]
    HostFile {
        /// The file on the host.
        path: PathBuf,
        /// The host's reason.
        source: io::Error,
    },
    /// A file had another length at its end than at its start.
    #[error("{} changed while it was being read", path.display())]
    HostFileChanged {
        /// The file on the host.
        path: PathBuf,
    },
    /// The image or its temporary data could not be written.
    #[error("{0}")]
    Output(io::Error),
    /// The archive is malformed, or compressed in a way that is not supported.
    #[error("{0}")]
    Archive(String),
    /// One entry of the archive cannot be part of a filesystem.
    #[error("entry {}: {problem}", escape(name))]
    Entry {
        /// The entry's name as the archive gives it.
        name: Vec<u8>,
        /// What is wrong with it.
        problem: String,
    },
    /// The filesystem would be larger than the format or this program can take.
    #[error("{0}")]
    TooLarge(&'static str),
}

/// A name for a message: printable ASCII, everything else escaped, cut if very long.
pub fn escape(name: &[u8]) -> String {
    const LONGEST: usize = 300;
    if name.len() > LONGEST {
        format!("{}...", name[..LONGEST].escape_ascii())
    } else {
        name.escape_ascii().to_string()
    }
}
