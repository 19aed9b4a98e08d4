//! The contents of a directory: sorted names cut into blocks, each block an array of entries and
//! then their names (erofs.rst, "Directories").

use super::format::{BLOCK_BYTES, DIRENT_BYTES};

/// One name in a directory about to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewEntry<'a> {
    pub(super) name: &'a [u8],
    pub(super) nid: u64,
    pub(super) file_type: u8,
}

/// Length in bytes of a directory with these names, `.` and `..` included, in order.
pub(super) fn directory_bytes<'a>(names: impl Iterator<Item = &'a [u8]>) -> u64 {
    let (mut full_blocks, mut used) = (0u64, 0);
    for name in names {
        let needed = DIRENT_BYTES + name.len();
        if used + needed > BLOCK_BYTES {
            full_blocks += 1;
            used = 0;
        }
        used += needed;
    }
    full_blocks * BLOCK_BYTES as u64 + used as u64
}

/// The directory's bytes: whole blocks, then what the last one needs. The entries are in order of
/// their names' bytes.
pub(super) fn directory_content(entries: &[NewEntry]) -> Vec<u8> {
    let mut content = Vec::new();
    let mut rest = entries;
    while !rest.is_empty() {
        let mut used = 0;
        let fitting = rest.iter().take_while(|entry| {
            used += DIRENT_BYTES + entry.name.len();
            used <= BLOCK_BYTES
        });
        let (block, later) = rest.split_at(fitting.count());
        write_block(&mut content, block);
        if !later.is_empty() {
            content.resize(content.len().next_multiple_of(BLOCK_BYTES), 0);
        }
        rest = later;
    }
    content
}

fn write_block(content: &mut Vec<u8>, entries: &[NewEntry]) {
    let mut name_offset = entries.len() * DIRENT_BYTES;
    for entry in entries {
        content.extend_from_slice(&entry.nid.to_le_bytes());
        content.extend_from_slice(&(name_offset as u16).to_le_bytes());
        content.extend_from_slice(&[entry.file_type, 0]);
        name_offset += entry.name.len();
    }
    for entry in entries {
        content.extend_from_slice(entry.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_known_before_the_content() {
        for (count, name_bytes) in [(1, 1), (2, 255), (15, 255), (16, 255), (300, 20), (1000, 7), (128, 20)] {
            let names: Vec<Vec<u8>> = (0..count).map(|i| format!("{i:0name_bytes$}").into_bytes()).collect();
            let entries: Vec<NewEntry> =
                names.iter().map(|name| NewEntry { name, nid: 1, file_type: 1 }).collect();
            let content = directory_content(&entries);
            assert_eq!(content.len() as u64, directory_bytes(names.iter().map(|name| &name[..])));
        }
    }
}
