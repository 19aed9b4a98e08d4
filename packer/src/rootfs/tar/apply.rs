//! Puts the entries of a tar archive into a tree.

use super::acl;
use super::reader::{Entry, EntryKind, TarReader, cut_short};
use crate::rootfs::error::{RootfsError, escape};
use crate::rootfs::store::DataStore;
use crate::rootfs::tree::{Content, FsTree, Metadata};
use std::collections::BTreeSet;
use std::io::Read;

/// How an archive is to be understood.
#[derive(Clone, Copy, Debug, Default)]
pub struct TarOptions {
    /// Names that begin with `.wh.` remove what lower layers have (OCI image specification,
    /// "Whiteouts") instead of being files.
    pub whiteouts: bool,
}

const WHITEOUT_PREFIX: &[u8] = b".wh.";
const OPAQUE_WHITEOUT: &[u8] = b".wh..wh..opq";

/// Applies an uncompressed archive to `tree` as one layer over what is there. Entries that repeat a
/// name replace the earlier one. Returns warnings: what could not be kept, one line each.
///
/// # Errors
/// [`RootfsError`]; the tree is then incomplete and of no use.
pub fn apply_tar(
    tree: &mut FsTree,
    store: &mut DataStore,
    archive: impl Read,
    options: TarOptions,
) -> Result<Vec<String>, RootfsError> {
    tree.begin_layer();
    let mut warnings = BTreeSet::new();
    let mut reader = TarReader::new(archive);
    while let Some(entry) = reader.next_entry()? {
        if options.whiteouts && apply_whiteout(tree, &entry)? {
            continue;
        }
        apply_entry(tree, store, &mut reader, entry, &mut warnings)?;
    }
    for &flag in reader.skipped().iter().collect::<BTreeSet<_>>() {
        warnings.insert(format!("entries of type '{}' left out", flag.escape_ascii()));
    }
    Ok(warnings.into_iter().collect())
}

/// Carries out a whiteout. Returns whether the entry is one.
fn apply_whiteout(tree: &mut FsTree, entry: &Entry) -> Result<bool, RootfsError> {
    let path = entry.path.strip_suffix(b"/").unwrap_or(&entry.path);
    let name_start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let (directory, name) = path.split_at(name_start);
    let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX) else { return Ok(false) };
    let result = if name == OPAQUE_WHITEOUT {
        tree.make_opaque(directory)
    } else {
        match hidden {
            // No such names exist, so nothing can be meant by them.
            b"" | b"." | b".." => return Err(entry_error(entry, "a whiteout of no name".to_string())),
            hidden => tree.remove(&[directory, hidden].concat()),
        }
    };
    result.map_err(|error| entry_error(entry, error.to_string()))?;
    Ok(true)
}

fn apply_entry<R: Read>(
    tree: &mut FsTree,
    store: &mut DataStore,
    reader: &mut TarReader<R>,
    entry: Entry,
    warnings: &mut BTreeSet<String>,
) -> Result<(), RootfsError> {
    let metadata = metadata_of(&entry, warnings);
    let data_error = |error| match error {
        RootfsError::Input(source) => cut_short(source, &format!("the data of {}", escape(&entry.path))),
        other => other,
    };
    let placed = match &entry.kind {
        EntryKind::HardLink => tree.hard_link(&entry.path, &entry.link),
        EntryKind::File => {
            let data = store.add_file(reader, entry.size, &metadata.xattrs).map_err(data_error)?;
            tree.insert(&entry.path, metadata, Content::File(data))
        }
        EntryKind::SparseFile(regions) => {
            let data = store.add_sparse(reader, entry.size, regions, &metadata.xattrs).map_err(data_error)?;
            tree.insert(&entry.path, metadata, Content::File(data))
        }
        EntryKind::Symlink => {
            tree.insert(&entry.path, metadata, Content::Symlink(entry.link.as_slice().into()))
        }
        EntryKind::CharDevice(number) => tree.insert(&entry.path, metadata, Content::CharDevice(*number)),
        EntryKind::BlockDevice(number) => tree.insert(&entry.path, metadata, Content::BlockDevice(*number)),
        EntryKind::Directory => tree.insert(&entry.path, metadata, Content::empty_directory()),
        EntryKind::Fifo => tree.insert(&entry.path, metadata, Content::Fifo),
    };
    placed.map_err(|error| entry_error(&entry, error.to_string()))?;
    Ok(())
}

fn metadata_of(entry: &Entry, warnings: &mut BTreeSet<String>) -> Metadata {
    let mut metadata = Metadata {
        mode: entry.mode,
        uid: entry.uid,
        gid: entry.gid,
        mtime: entry.mtime,
        ..Metadata::default()
    };
    for (name, value) in &entry.xattrs {
        if let Err(error) = metadata.xattrs.set(name, value) {
            warnings.insert(format!("attribute {} left out: {error}", escape(name)));
        }
    }
    for (name, text) in &entry.acls {
        // The attribute itself, if the archive has it too, is the better source.
        if metadata.xattrs.get(name).is_some() || text.is_empty() {
            continue;
        }
        let kept = acl::parse(text).map(|binary| {
            // An access ACL of owner, group and others alone is the mode once more; Linux stores none.
            let is_mode = *name == acl::ACCESS && binary.len() == acl::MINIMAL_BYTES;
            is_mode || metadata.xattrs.set(name, &binary).is_ok()
        });
        if kept != Some(true) {
            warnings.insert(format!("ACL of {} left out: it names a user or group", escape(&entry.path)));
        }
    }
    metadata
}

fn entry_error(entry: &Entry, problem: String) -> RootfsError {
    RootfsError::Entry { name: entry.path.clone(), problem }
}
