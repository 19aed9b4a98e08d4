//! The `-v HOST:GUEST[:ro]` option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A host directory or file that the container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Path on the host.
    pub host: PathBuf,
    /// Absolute path in the container.
    pub guest: OsString,
    /// The container may not change it.
    pub read_only: bool,
}

/// Why a volume option cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// There is no colon, or nothing on one side of it.
    #[error("expected HOST:GUEST or HOST:GUEST:ro")]
    Form,
    /// The path in the container is relative.
    #[error("the path in the container must be absolute, not {0:?}")]
    Relative(String),
    /// What cannot be covered: the root, or the kernel's own files.
    #[error("the container needs its own {0}")]
    Reserved(&'static str),
    /// Two volumes at one place.
    #[error("two volumes at {0}")]
    Duplicate(String),
    /// An option other than `ro` and `rw`.
    #[error("unknown volume option {0:?}: ro and rw are known")]
    Option(String),
}

impl Volume {
    /// Reads the option's value; any bytes but a colon may be part of a path.
    pub fn parse(text: &OsStr) -> Result<Self, VolumeError> {
        let mut parts = text.as_bytes().split(|byte| *byte == b':');
        let (Some(host), Some(guest)) = (parts.next(), parts.next()) else { return Err(VolumeError::Form) };
        if host.is_empty() || guest.is_empty() {
            return Err(VolumeError::Form);
        }
        let mut read_only = false;
        for option in parts.flat_map(|part| part.split(|byte| *byte == b',')) {
            match option {
                b"ro" => read_only = true,
                b"rw" => read_only = false,
                other => return Err(VolumeError::Option(String::from_utf8_lossy(other).into_owned())),
            }
        }
        if guest[0] != b'/' {
            return Err(VolumeError::Relative(String::from_utf8_lossy(guest).into_owned()));
        }
        let guest = normal(guest);
        if guest == b"/" {
            return Err(VolumeError::Reserved("/"));
        }
        if guest == b"/proc" || guest.starts_with(b"/proc/") {
            return Err(VolumeError::Reserved("/proc"));
        }
        Ok(Self {
            host: OsString::from_vec(host.to_vec()).into(),
            guest: OsString::from_vec(guest),
            read_only,
        })
    }
}

/// An absolute path without `.`, `..` and repeated slashes.
fn normal(path: &[u8]) -> Vec<u8> {
    let mut names: Vec<&[u8]> = Vec::new();
    for name in path.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    [b"/", names.join(&b'/').as_slice()].concat()
}

/// Puts volumes into the order in which they are mounted: one inside another comes after it, however they were given.
///
/// # Errors
/// [`VolumeError::Duplicate`].
pub fn arrange(mut volumes: Vec<Volume>) -> Result<Vec<Volume>, VolumeError> {
    volumes.sort_by(|a, b| a.guest.cmp(&b.guest));
    match volumes.windows(2).find(|pair| pair[0].guest == pair[1].guest) {
        Some(pair) => Err(VolumeError::Duplicate(pair[0].guest.to_string_lossy().into_owned())),
        None => Ok(volumes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let parse = |text: &str| Volume::parse(OsStr::new(text));
        let volume = parse("./src:/work:ro").unwrap();
        assert_eq!(
            (volume.host.to_str(), volume.guest.to_str(), volume.read_only),
            (Some("./src"), Some("/work"), true)
        );
        assert!(!parse("/a:/b").unwrap().read_only);
        assert_eq!(parse("/a"), Err(VolumeError::Form));
        assert_eq!(parse(":/a"), Err(VolumeError::Form));
        assert_eq!(parse("/a:b"), Err(VolumeError::Relative("b".into())));
        assert_eq!(parse("/a:/b:z"), Err(VolumeError::Option("z".into())));
        assert_eq!(parse("/a://b/../c/./d/").unwrap().guest, "/c/d");
        assert_eq!(parse("/a:/x/.."), Err(VolumeError::Reserved("/")));
        assert_eq!(parse("/a:/proc/sys"), Err(VolumeError::Reserved("/proc")));
    }

    #[test]
    fn an_inner_volume_is_mounted_after_the_outer_one() {
        let parse = |text: &str| Volume::parse(OsStr::new(text)).unwrap();
        let order = arrange(vec![parse("1:/x/y"), parse("2:/x"), parse("3:/a")]).unwrap();
        assert_eq!(
            order.iter().map(|volume| volume.guest.to_str().unwrap()).collect::<Vec<_>>(),
            ["/a", "/x", "/x/y"]
        );
        assert_eq!(arrange(vec![parse("1:/x"), parse("2:/x/")]), Err(VolumeError::Duplicate("/x".into())));
    }
}
