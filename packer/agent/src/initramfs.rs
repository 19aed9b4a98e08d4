//! The initial RAM file system that holds the agent: a cpio archive in the "newc" form
//! (kernel documentation, "initramfs buffer format").

/// Regular file, directory, character device (`st_mode` of inode(7)).
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// A newc archive with the agent as `/init`, and the two device nodes that must exist before
/// anything is mounted: the kernel opens `/dev/console` as the agent's stdin, stdout and stderr,
/// and `/dev/null` stands in where there is no console. Equal input gives equal bytes.
pub fn initramfs(agent_elf: &[u8]) -> Vec<u8> {
    let mut cpio = Vec::with_capacity(agent_elf.len() + 1024);
    entry(&mut cpio, 1, "dev", DIRECTORY | 0o755, (0, 0), &[]);
    entry(&mut cpio, 2, "dev/console", CHARACTER_DEVICE | 0o600, (5, 1), &[]);
    entry(&mut cpio, 3, "dev/null", CHARACTER_DEVICE | 0o666, (1, 3), &[]);
    entry(&mut cpio, 4, "init", FILE | 0o755, (0, 0), agent_elf);
    entry(&mut cpio, 0, "TRAILER!!!", 0, (0, 0), &[]);
    cpio.resize(cpio.len().next_multiple_of(512), 0);
    cpio
}

fn entry(cpio: &mut Vec<u8>, inode: u32, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) {
    let links = if mode & DIRECTORY != 0 { 2 } else { 1 };
    // c_magic, then 13 numbers of 8 hexadecimal digits: ino mode uid gid nlink mtime filesize
    // devmajor devminor rdevmajor rdevminor namesize check. The name's size counts its NUL.
    let fields = [
        inode,
        mode,
        0,
        0,
        links,
        0,
        contents.len() as u32,
        0,
        0,
        device.0,
        device.1,
        name.len() as u32 + 1,
        0,
    ];
    cpio.extend_from_slice(b"070701");
    for field in fields {
        cpio.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    cpio.extend_from_slice(name.as_bytes());
    cpio.push(0);
    cpio.resize(cpio.len().next_multiple_of(4), 0);
    cpio.extend_from_slice(contents);
    cpio.resize(cpio.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_header_is_aligned_and_the_agent_is_in_it() {
        let agent = b"\x7fELF and five";
        let cpio = initramfs(agent);
        assert_eq!(cpio.len() % 512, 0);
        let mut at = 0;
        let mut seen = Vec::new();
        loop {
            assert_eq!(&cpio[at..at + 6], b"070701");
            let number = |field: usize| {
                let start = at + 6 + 8 * field;
                usize::from_str_radix(std::str::from_utf8(&cpio[start..start + 8]).unwrap(), 16).unwrap()
            };
            let (size, name_size) = (number(6), number(11));
            let name = std::str::from_utf8(&cpio[at + 110..at + 110 + name_size - 1]).unwrap().to_string();
            let data = (at + 110 + name_size).next_multiple_of(4);
            seen.push((name, number(1), (number(9), number(10)), cpio[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(4);
            if seen.last().unwrap().0 == "TRAILER!!!" {
                break;
            }
        }
        let entry =
            |name: &str, mode, device, contents: &[u8]| (name.to_string(), mode, device, contents.to_vec());
        let expected = [
            entry("dev", 0o040_755, (0, 0), b""),
            entry("dev/console", 0o020_600, (5, 1), b""),
            entry("dev/null", 0o020_666, (1, 3), b""),
            entry("init", 0o100_755, (0, 0), agent),
            entry("TRAILER!!!", 0, (0, 0), b""),
        ];
        assert_eq!(seen, expected);
    }
}
