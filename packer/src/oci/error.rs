//! Why an image cannot be had. One line each, without the name of the image: the caller knows it.
//! What a stranger's document or server says is quoted without control characters.

use super::platform::Platform;
use crate::cache::CacheError;
use crate::rootfs::RootfsError;
use std::io;
use std::path::PathBuf;

/// Why an image cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// A file of the host cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The host's reason.
        error: io::Error,
    },
    /// The source itself cannot be read.
    #[error("{0}")]
    Input(io::Error),
    /// Something that is to be an image is none.
    #[error("{0}")]
    NotAnImage(String),
    /// There is no such image, or more than one that could be meant.
    #[error("{problem}{}", list(" (there are: ", tags))]
    NoImage {
        /// What is missing or ambiguous.
        problem: &'static str,
        /// What could have been asked for.
        tags: Vec<String>,
    },
    /// A manifest, index or configuration cannot be understood.
    #[error("malformed {what}: {problem}")]
    Document {
        /// Which kind of document.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A document names a kind of content that is not an image for this program.
    #[error("unsupported media type {media_type:?} of the {what}{hint}")]
    MediaType {
        /// What has it.
        what: &'static str,
        /// The type.
        media_type: String,
        /// What to do instead, if anything.
        hint: &'static str,
    },
    /// A digest in an algorithm that is not known.
    #[error("unsupported digest {0:?} (sha256 and sha512 are)")]
    DigestAlgorithm(String),
    /// A blob that a document names is not there.
    #[error("blob {0} is missing")]
    MissingBlob(String),
    /// Content is not what its digest says.
    #[error("{what} does not match its digest: {expected} was promised, {actual} is there")]
    DigestMismatch {
        /// What was read.
        what: String,
        /// The digest that the document gives.
        expected: String,
        /// The digest of what is there.
        actual: String,
    },
    /// Content has another length than its descriptor says.
    #[error("{what} has {actual} bytes instead of {expected}")]
    LengthMismatch {
        /// What was read.
        what: String,
        /// The descriptor's number.
        expected: u64,
        /// Bytes that there are, at least.
        actual: u64,
    },
    /// A limit against bombs.
    #[error("{what} is larger than {limit_bytes} bytes; --max-size sets the limit")]
    TooLarge {
        /// What is.
        what: String,
        /// The limit in bytes.
        limit_bytes: u64,
    },
    /// The image is not for the machine's platform.
    #[error("no image for {wanted} (it is for {}){hint}", available.join(", "))]
    OtherPlatform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        available: Vec<String>,
        /// What to do instead, if anything.
        hint: String,
    },
    /// A layer cannot be applied.
    #[error("layer {number} of {count}, {name}: {error}")]
    Layer {
        /// Counted from 1.
        number: usize,
        /// Layers of the image.
        count: usize,
        /// Digest, or name in the archive.
        name: String,
        /// What is wrong with it.
        error: RootfsError,
    },
    /// A registry cannot be spoken to.
    #[error("{host}: {problem}")]
    Connection {
        /// The server.
        host: String,
        /// What went wrong.
        problem: String,
    },
    /// A registry's answer that is no success, and what it says.
    #[error("{host} answers {}{detail}", status_text(*status, detail))]
    Status {
        /// The server.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The server's own words, perhaps none.
        detail: String,
    },
    /// A registry has no such image.
    #[error("{host} has no {what}")]
    NotFound {
        /// The server.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// A registry wants to know who asks, or does not let this user in.
    #[error("{host}: {}", unauthorized_text(*has_credentials))]
    Unauthorized {
        /// The server.
        host: String,
        /// Whether the user has credentials for it.
        has_credentials: bool,
    },
    /// A certificate of the user's cannot be used.
    #[error("{}: {problem}", path.display())]
    Certificate {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file of credentials, or a credential helper, does not work.
    #[error("{}: {problem}", path.display())]
    Credentials {
        /// The configuration file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The cache cannot be used.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl OciError {
    pub(super) fn document(what: &'static str, problem: impl std::fmt::Display) -> OciError {
        OciError::Document { what, problem: plain(&problem.to_string()) }
    }
}

fn status_text(status: u16, detail: &str) -> String {
    let meaning = match status {
        401 => " (not authorized)",
        403 => " (access denied)",
        404 => " (not found)",
        429 => " (too many requests)",
        500..=599 => " (an error of its own)",
        _ => "",
    };
    format!("{status}{meaning}{}", if detail.is_empty() { "" } else { ": " })
}

fn unauthorized_text(has_credentials: bool) -> &'static str {
    match has_credentials {
        true => "the user's credentials for it are refused, or there is no such image",
        false => {
            "it wants credentials, and the user has none for it (docker login, podman login), or there is no such image"
        }
    }
}

/// One line of printable text, cut if very long.
pub(super) fn plain(text: &str) -> String {
    const LONGEST: usize = 300;
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = line.clone().take(LONGEST).collect();
    if line.count() > LONGEST {
        short.push_str("...");
    }
    short.trim().to_string()
}

fn list(intro: &str, names: &[String]) -> String {
    const MOST: usize = 8;
    match names {
        [] => String::new(),
        names => {
            let more = if names.len() > MOST { ", ..." } else { "" };
            let shown: Vec<String> = names.iter().take(MOST).map(|name| plain(name)).collect();
            format!("{intro}{}{more})", shown.join(", "))
        }
    }
}
