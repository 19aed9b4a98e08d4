//! Where what is packed comes from: a root filesystem, or a container image in one of its forms.

use crate::cache::Cache;
use crate::image::ContainerConfig;
use crate::oci::{
    Archive, BlobCache, Digest, Directory, DockerArchive, Layout, Limits, OciError, OciImage, Platform,
    Reference, RegistryOptions, Repository, Watcher, apply_layers, container_config, fetch_layers,
};
use crate::rootfs::tar::{TarOptions, apply_tar};
use crate::rootfs::{DataStore, DirectoryOptions, FsTree, RootfsError, apply_directory, decompress};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where a container's files, and perhaps its configuration, come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory, or a tar archive, plain or compressed with gzip or zstd; told apart by content.
    Rootfs(PathBuf),
    /// An archive on standard input.
    Stdin,
    /// An image in a registry.
    Registry(Reference),
    /// An OCI image layout in a directory.
    OciDirectory(LocalImage),
    /// An archive of an OCI image layout.
    OciArchive(LocalImage),
    /// An archive that `docker save` wrote.
    DockerArchive(LocalImage),
}

/// An image in a file or directory, by its tag if there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalImage {
    /// The file or directory.
    pub path: PathBuf,
    /// A tag, or a digest.
    pub tag: Option<String>,
}

impl LocalImage {
    /// Reads `PATH[:TAG]` or `PATH@DIGEST`. A tag has no slash; a path that exists as it is has none.
    fn parse(text: &str) -> Option<LocalImage> {
        let split = match text.rsplit_once('@').filter(|(_, digest)| digest.contains(':')) {
            None => text.split_once(':').map(|(path, tag)| (path, tag.trim_end_matches('/'))),
            at => at,
        };
        let (path, tag) = match split {
            Some((path, tag)) if !tag.contains('/') || tag.contains(':') => (path, Some(tag.to_string())),
            _ => (text, None),
        };
        let tag = tag.filter(|tag| !tag.is_empty());
        (!path.is_empty()).then(|| LocalImage { path: PathBuf::from(path), tag })
    }
}

impl fmt::Display for LocalImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.tag {
            Some(digest) if digest.contains(':') => write!(f, "@{digest}"),
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "-" {
            return Ok(Source::Stdin);
        }
        let local = |kind: fn(LocalImage) -> Source, rest: &str| {
            LocalImage::parse(rest).map(kind).ok_or_else(|| format!("{text}: a path is missing"))
        };
        match text.split_once(':') {
            Some(("rootfs", "")) => Err("rootfs: needs a path".to_string()),
            Some(("rootfs", "-")) => Ok(Source::Stdin),
            Some(("rootfs", path)) => Ok(Source::Rootfs(PathBuf::from(path))),
            Some(("oci", rest)) => local(Source::OciDirectory, rest),
            Some(("oci-archive", rest)) => local(Source::OciArchive, rest),
            Some(("docker-archive", rest)) => local(Source::DockerArchive, rest),
            Some(("docker", rest)) if rest.starts_with("//") => reference(&rest[2..]).map(Source::Registry),
            _ => reference(text).map(Source::Registry),
        }
    }
}

/// An image of a registry, as docker reads a reference.
///
/// # Errors
/// One line that says what it is instead, as far as that can be told.
pub fn reference(text: &str) -> Result<Reference, String> {
    const ARCHIVES: [&str; 5] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst"];
    let is_path = text.starts_with(['/', '.', '~']) || ARCHIVES.iter().any(|end| text.ends_with(end));
    if is_path {
        return Err(format!(
            "{text:?} is a path, not an image of a registry; write rootfs:{text}, or oci:, oci-archive:, docker-archive:"
        ));
    }
    Reference::from_str(text).map_err(|error| format!("{text:?} is not an image reference: {error}"))
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Rootfs(path) => write!(f, "{}", path.display()),
            Source::Stdin => f.write_str("standard input"),
            Source::Registry(reference) => write!(f, "{reference}"),
            Source::OciDirectory(image) | Source::OciArchive(image) | Source::DockerArchive(image) => {
                write!(f, "{image}")
            }
        }
    }
}

/// How a source is read.
#[derive(Clone)]
pub struct SourceOptions<'a> {
    /// Which of an image's platforms.
    pub platform: Platform,
    /// Limits against bombs.
    pub limits: Limits,
    /// For temporary files as large as the image.
    pub scratch_directory: PathBuf,
    /// How registries are spoken to.
    pub registry: RegistryOptions,
    /// Where what comes from registries is kept.
    pub cache: Cache,
    /// Is told how transfers go on.
    pub watcher: &'a dyn Watcher,
}

/// Why a source cannot be packed. One line that names it.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The source cannot be read, or cannot be made a filesystem of.
    #[error("{source_name}: {error}")]
    Rootfs {
        /// The source as the user named it.
        source_name: String,
        /// What is wrong.
        error: RootfsError,
    },
    /// The image cannot be had.
    #[error("{source_name}: {error}")]
    Oci {
        /// The source as the user named it.
        source_name: String,
        /// What is wrong.
        error: OciError,
    },
    /// The source is neither a directory nor a file.
    #[error("{0}: neither a directory nor a regular file")]
    Kind(String),
}

/// A source that is there: everything that can be known without reading its files has been checked.
pub struct OpenSource<'a> {
    name: String,
    files: SourceFiles<'a>,
    config: ContainerConfig,
    limits: Limits,
    watcher: &'a dyn Watcher,
}

enum SourceFiles<'a> {
    Directory(PathBuf),
    Archive(Box<dyn Read>),
    Image(Box<OciImage<'a>>),
}

impl<'a> OpenSource<'a> {
    /// Opens a source; of an image, finds the manifest, reads the configuration and fetches the layers.
    ///
    /// # Errors
    /// [`SourceError`].
    pub fn open(source: &Source, options: &SourceOptions<'a>) -> Result<OpenSource<'a>, SourceError> {
        let name = source.to_string();
        let oci = |error| SourceError::Oci { source_name: name.clone(), error };
        let (files, config) = match source {
            Source::Stdin => (SourceFiles::Archive(Box::new(io::stdin().lock())), ContainerConfig::default()),
            Source::Rootfs(path) => (rootfs(&name, path)?, ContainerConfig::default()),
            image => {
                let image = open_image(image, options).map_err(oci)?;
                let config = container_config(&image.config).map_err(oci)?;
                fetch_layers(&image, options.limits).map_err(oci)?;
                (SourceFiles::Image(Box::new(image)), config)
            }
        };
        Ok(OpenSource { name, files, config, limits: options.limits, watcher: options.watcher })
    }

    /// The source as the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the image says about how it is run; nothing for a root filesystem.
    pub fn config(&self) -> &ContainerConfig {
        &self.config
    }

    /// The digest of the image's manifest, if it has one.
    pub fn digest(&self) -> Option<&Digest> {
        match &self.files {
            SourceFiles::Image(image) => image.digest.as_ref(),
            _ => None,
        }
    }

    /// Puts the files into a tree. Returns warnings, one line each.
    ///
    /// # Errors
    /// [`SourceError`]; the tree is then of no use.
    pub fn apply(
        self,
        tree: &mut FsTree,
        store: &mut DataStore,
        options: &DirectoryOptions,
    ) -> Result<Vec<String>, SourceError> {
        let OpenSource { name, files, limits, watcher, .. } = self;
        let applied = match files {
            SourceFiles::Directory(path) => apply_directory(tree, store, &path, options),
            SourceFiles::Archive(reader) => {
                decompress(reader).and_then(|archive| apply_tar(tree, store, archive, TarOptions::default()))
            }
            SourceFiles::Image(image) => {
                let applied = apply_layers(&image, tree, store, limits, watcher);
                return applied.map_err(|error| match error {
                    // Not the layer's fault.
                    OciError::Layer { error: error @ RootfsError::Output(_), .. } => {
                        SourceError::Rootfs { source_name: name, error }
                    }
                    error => SourceError::Oci { source_name: name, error },
                });
            }
        };
        applied.map_err(|error| SourceError::Rootfs { source_name: name, error })
    }
}

fn rootfs<'a>(name: &str, path: &Path) -> Result<SourceFiles<'a>, SourceError> {
    let failed =
        |error| SourceError::Rootfs { source_name: name.to_string(), error: RootfsError::Input(error) };
    let found = fs::metadata(path).map_err(failed)?;
    if found.is_dir() {
        return Ok(SourceFiles::Directory(path.to_path_buf()));
    }
    if !found.is_file() {
        return Err(SourceError::Kind(name.to_string()));
    }
    Ok(SourceFiles::Archive(Box::new(File::open(path).map_err(failed)?)))
}

fn open_image<'a>(source: &Source, options: &SourceOptions<'a>) -> Result<OciImage<'a>, OciError> {
    let archive =
        |path: &Path| Archive::open(path, &options.scratch_directory, options.limits.unpacked_bytes);
    let (layout, tag) = match source {
        Source::OciDirectory(LocalImage { path, tag }) => {
            let found = fs::metadata(path).map_err(OciError::Input)?;
            if !found.is_dir() {
                let hint = "; write oci-archive: for an archive of a layout";
                return Err(OciError::NotAnImage(format!("not a directory{hint}")));
            }
            (Layout::open(Box::new(Directory::new(path)))?, tag)
        }
        Source::OciArchive(LocalImage { path, tag }) => (Layout::open(Box::new(archive(path)?))?, tag),
        Source::DockerArchive(LocalImage { path, tag }) => {
            return DockerArchive::open(archive(path)?)?.into_image(tag.as_deref(), &options.platform);
        }
        Source::Registry(reference) => {
            let cache = BlobCache::new(options.cache.clone());
            let repository = Repository::new(reference, &options.registry, cache, options.watcher)?;
            let root = repository.find(reference)?;
            return OciImage::resolve(Box::new(repository), &root, &options.platform);
        }
        Source::Rootfs(_) | Source::Stdin => {
            return Err(OciError::NotAnImage("not a container image".to_string()));
        }
    };
    let root = layout.find(tag.as_deref())?;
    OciImage::resolve(Box::new(layout), &root, &options.platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kind of source, its parts, and the source as it is shown.
    fn kind(text: &str) -> String {
        let local = |kind: &str, image: &LocalImage| {
            format!("{kind} {} {}", image.path.display(), image.tag.as_deref().unwrap_or("-"))
        };
        match text.parse::<Source>() {
            Ok(Source::Rootfs(path)) => format!("rootfs {}", path.display()),
            Ok(Source::Stdin) => "stdin".to_string(),
            Ok(Source::Registry(reference)) => format!("registry {reference}"),
            Ok(Source::OciDirectory(image)) => local("oci", &image),
            Ok(Source::OciArchive(image)) => local("oci-archive", &image),
            Ok(Source::DockerArchive(image)) => local("docker-archive", &image),
            Err(error) => error,
        }
    }

    #[test]
    fn sources_are_written_as_on_the_command_line() {
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        for (text, expected) in [
            ("rootfs:a/b.tar", "rootfs a/b.tar"),
            ("rootfs:-", "stdin"),
            ("-", "stdin"),
            ("rootfs:", "rootfs: needs a path"),
            ("oci:a/b", "oci a/b -"),
            ("oci:a/b:v1.2", "oci a/b v1.2"),
            ("oci:/a:b/c", "oci /a:b/c -"),
            ("oci:a:", "oci a -"),
            ("oci:", "oci:: a path is missing"),
            ("oci-archive:x.tar:latest", "oci-archive x.tar latest"),
            ("docker-archive:x.tar", "docker-archive x.tar -"),
            ("docker-archive:x.tar:repo/name:tag", "docker-archive x.tar repo/name:tag"),
            ("alpine:3.20", "registry docker.io/library/alpine:3.20"),
            ("docker://a/b", "registry docker.io/a/b:latest"),
            ("localhost:5000/x", "registry localhost:5000/x:latest"),
            ("localhost/x:1", "registry localhost/x:1"),
            ("index.docker.io/x", "registry docker.io/library/x:latest"),
            (
                "a.tar",
                "\"a.tar\" is a path, not an image of a registry; write rootfs:a.tar, or oci:, oci-archive:, \
                 docker-archive:",
            ),
            ("Alpine", "\"Alpine\" is not an image reference: invalid reference format"),
            ("a b", "\"a b\" is not an image reference: invalid reference format"),
            ("", "\"\" is not an image reference: repository name must have at least one component"),
        ] {
            assert_eq!(kind(text), expected, "{text}");
        }
        assert_eq!(kind(&format!("oci:a@{digest}")), format!("oci a {digest}"));
        assert_eq!(
            kind(&format!("localhost:5000/x@{digest}")),
            format!("registry localhost:5000/x@{digest}")
        );
    }
}
