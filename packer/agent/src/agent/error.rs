//! Why the agent could not do something.

use rustix::io::Errno;

/// A failure of the agent, told to the host or, when it is fatal, on the console.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A system call failed.
    #[error("{action}: {}", describe(.errno))]
    System {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        errno: Errno,
    },
    /// No disk to take the root file system from.
    #[error("there is no disk {0}")]
    NoDisk(&'static str),
    /// The disk's first bytes are of no file system that is known.
    #[error("{0} holds no EROFS, squashfs or ext4 file system")]
    UnknownFileSystem(&'static str),
    /// The port that carries the protocol is missing.
    #[error("there is no virtio-console port named {}", c2w_agent::PORT_NAME)]
    NoPort,
    /// The host sent something that is not the protocol.
    #[error("the host sent nonsense: {0}")]
    Wire(#[from] c2w_agent::WireError),
    /// The host broke a rule of the protocol.
    #[error("the host broke the protocol: {0}")]
    Protocol(&'static str),
    /// A path that has to be absolute is not, or names no file.
    #[error("{0:?} is not an absolute path of a file")]
    BadPath(String),
}

/// Says what was tried when a system call fails.
pub trait During<T> {
    /// Adds the action to the error; it is only worded when there is one.
    ///
    /// # Errors
    /// The system call's.
    fn during(self, action: impl FnOnce() -> String) -> Result<T, AgentError>;
}

impl<T> During<T> for rustix::io::Result<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, AgentError> {
        self.map_err(|errno| AgentError::System { action: action(), errno })
    }
}

impl<T> During<T> for std::io::Result<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, AgentError> {
        self.map_err(|error| errno_of(&error)).during(action)
    }
}

/// The number in an I/O error.
pub fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// The error's text in lower case and without its number, as docker words it.
pub fn describe(errno: &Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno.raw_os_error()).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
