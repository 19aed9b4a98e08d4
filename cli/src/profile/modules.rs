//! Programs and libraries of the guest, found in its memory: an address belongs to the nearest ELF header before it, and
//! the dynamic section that this leads to has the names (System V ABI, "Dynamic Linking").
//!
//! All of it is the guest's and may be anything: what makes no sense has no name.

use super::symbols::Symbols;
use std::collections::{HashMap, HashSet};

/// Reads guest memory; false if not all of it is mapped.
pub type Read<'a> = dyn FnMut(u64, &mut [u8]) -> bool + 'a;

const PAGE: u64 = 4096;
/// How far before an address its header may be.
const MAX_CODE_BYTES: u64 = 128 << 20;
/// Pages from a stack pointer to the end of the stack, where the kernel puts the program's path.
const MAX_STACK_PAGES: u64 = 64;
/// Symbols of a module at most.
const MAX_SYMBOLS: u64 = 1 << 17;
/// Bytes of names of a module at most.
const MAX_NAMES: u64 = 1 << 23;
const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: u64 = 56;
const SYMBOL_BYTES: u64 = 24;
const LOAD: u64 = 1;
const DYNAMIC: u64 = 2;
const FUNCTION: u8 = 2;
const INDIRECT_FUNCTION: u8 = 10;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// A module where it is mapped.
struct Module {
    base: u64,
    end: u64,
    header: [u8; HEADER_BYTES],
    name: String,
    symbols: Symbols,
}

/// What is known of an address space.
#[derive(Default)]
struct Space {
    modules: Vec<Module>,
    /// Pages without a module before them.
    bare: HashSet<u64>,
    /// Where the program's path is, and what it is.
    program: Option<(u64, String)>,
}

/// The modules of all address spaces that were seen.
#[derive(Default)]
pub struct Modules {
    spaces: HashMap<u64, Space>,
}

impl Modules {
    /// The frames of an address.
    pub fn stack(&mut self, read: &mut Read<'_>, space: u64, pc: u64, stack_pointer: u64) -> String {
        let space = self.spaces.entry(space).or_default();
        let program = space.program(read, stack_pointer);
        match space.module(read, pc) {
            Some(module) => {
                let name = if module.name.is_empty() { "main" } else { &module.name };
                match module.symbols.at(pc) {
                    Some(function) => format!("{program};{name};{function};{pc:#x}"),
                    None => format!("{program};{name};{pc:#x}"),
                }
            }
            None => format!("{program};anonymous;{pc:#x}"),
        }
    }
}

impl Space {
    /// The path of the program, from the end of its stack.
    fn program(&mut self, read: &mut Read<'_>, stack_pointer: u64) -> String {
        if let Some((at, name)) = &self.program {
            if path_ending(read, *at).as_ref() == Some(name) {
                return name.clone();
            }
            // Another program runs in what was this one's address space.
            *self = Self::default();
        }
        let mut page = stack_pointer & !(PAGE - 1);
        let mut byte = [0];
        let first = page;
        while page < first + MAX_STACK_PAGES * PAGE && read(page, &mut byte) {
            page = page.wrapping_add(PAGE);
        }
        match path_ending(read, page) {
            Some(name) => {
                self.program = Some((page, name.clone()));
                name
            }
            // A thread, whose stack is somewhere else.
            None => "program".into(),
        }
    }

    fn module(&mut self, read: &mut Read<'_>, pc: u64) -> Option<&Module> {
        let known = self.modules.iter().position(|module| (module.base..module.end).contains(&pc));
        if let Some(at) = known {
            let mut header = [0; HEADER_BYTES];
            if !read(self.modules[at].base, &mut header) || header == self.modules[at].header {
                return self.modules.get(at);
            }
            self.modules.swap_remove(at);
        }
        let page = pc & !(PAGE - 1);
        match find(read, page, &self.bare).filter(|module| pc < module.end) {
            Some(module) => {
                self.modules.push(module);
                self.modules.last()
            }
            None => {
                self.bare.insert(page);
                None
            }
        }
    }
}

/// The path that ends before the last word of a stack's last page.
fn path_ending(read: &mut Read<'_>, end: u64) -> Option<String> {
    let mut bytes = [0; 256];
    if !read(end.wrapping_sub(256), &mut bytes) {
        return None;
    }
    let text = bytes.strip_suffix(&[0; 8])?;
    let text = text.strip_suffix(&[0]).unwrap_or(text);
    let start = text.iter().rposition(|&byte| byte == 0)? + 1;
    let path = std::str::from_utf8(&text[start..]).ok()?;
    let plain = |char: char| !char.is_control() && char != ';' && char != ' ';
    (!path.is_empty() && path.chars().all(plain)).then(|| path.to_owned())
}

/// The module whose header is before a page. There is none before `bare` pages.
fn find(read: &mut Read<'_>, page: u64, bare: &HashSet<u64>) -> Option<Module> {
    let mut at = page;
    let mut magic = [0; 4];
    while page - at < MAX_CODE_BYTES && !bare.contains(&at) {
        if read(at, &mut magic) && &magic == b"\x7fELF" {
            return module(read, at);
        }
        at = at.checked_sub(PAGE)?;
    }
    None
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    let mut number = [0; 8];
    number[..len].copy_from_slice(&bytes[at..at + len]);
    u64::from_le_bytes(number)
}

/// Reads the module at a base.
fn module(read: &mut Read<'_>, base: u64) -> Option<Module> {
    let mut header = [0; HEADER_BYTES];
    if !read(base, &mut header) {
        return None;
    }
    let (table, count) = (number(&header, 32, 8), number(&header, 56, 2));
    // The first segment says what is added to addresses; where it is not the header's, nothing is known.
    let (mut bias, mut end, mut dynamic) = (None, base, None);
    for index in 0..count {
        let mut entry = [0; PROGRAM_HEADER_BYTES as usize];
        if !read(base.checked_add(table)?.checked_add(index * PROGRAM_HEADER_BYTES)?, &mut entry) {
            return None;
        }
        let (offset, address, len) = (number(&entry, 8, 8), number(&entry, 16, 8), number(&entry, 40, 8));
        match number(&entry, 0, 4) {
            LOAD => {
                if offset == 0 {
                    bias = Some(base.wrapping_sub(address));
                }
                end = end.max(bias?.wrapping_add(address).checked_add(len)?);
            }
            DYNAMIC => dynamic = Some((address, len)),
            _ => {}
        }
    }
    let bias = bias?;
    let unnamed = Module { base, end, header, name: String::new(), symbols: Symbols::default() };
    let Some((at, len)) = dynamic else { return Some(unnamed) };
    let names = Dynamic::read(read, bias, at, len).and_then(|dynamic| dynamic.names(read));
    let (name, symbols) = names.unwrap_or_default();
    Some(Module { name, symbols, ..unnamed })
}

/// What a dynamic section says.
struct Dynamic {
    bias: u64,
    symbols: u64,
    names: u64,
    names_bytes: u64,
    name: Option<u64>,
    hash: Option<u64>,
    gnu_hash: Option<u64>,
}

impl Dynamic {
    fn read(read: &mut Read<'_>, bias: u64, at: u64, len: u64) -> Option<Self> {
        let mut entries = HashMap::new();
        for index in 0..(len / 16).min(1024) {
            let mut entry = [0; 16];
            if !read(bias.wrapping_add(at).wrapping_add(16 * index), &mut entry) {
                return None;
            }
            entries.entry(number(&entry, 0, 8)).or_insert(number(&entry, 8, 8));
        }
        // The dynamic linker has put addresses in the place of offsets, or has not yet.
        let address = |tag: u64| {
            let value = *entries.get(&tag)?;
            Some(if value >= bias { value } else { value.wrapping_add(bias) })
        };
        Some(Self {
            bias,
            symbols: address(DT_SYMTAB)?,
            names: address(DT_STRTAB)?,
            names_bytes: *entries.get(&DT_STRSZ)?,
            name: entries.get(&DT_SONAME).copied(),
            hash: address(DT_HASH),
            gnu_hash: address(DT_GNU_HASH),
        })
    }

    /// How many symbols there are: only hash tables say so.
    fn count(&self, read: &mut Read<'_>) -> Option<u64> {
        let mut word = |at: u64| {
            let mut bytes = [0; 4];
            read(at, &mut bytes).then(|| u64::from(u32::from_le_bytes(bytes)))
        };
        if let Some(hash) = self.hash {
            return word(hash.wrapping_add(4));
        }
        let table = self.gnu_hash?;
        let [buckets, first, filter] = [0, 4, 8].map(|at| word(table.wrapping_add(at)));
        let (buckets, first, filter) = (buckets?, first?, filter?);
        let at = table.wrapping_add(16 + 8 * filter);
        let mut last = 0;
        for bucket in 0..buckets.min(MAX_SYMBOLS) {
            last = last.max(word(at.wrapping_add(4 * bucket))?);
        }
        if last < first {
            return Some(first);
        }
        let chains = at.wrapping_add(4 * buckets);
        while last < MAX_SYMBOLS && word(chains.wrapping_add(4 * (last - first)))? & 1 == 0 {
            last += 1;
        }
        Some(last + 1)
    }

    /// The module's name and its functions.
    fn names(&self, read: &mut Read<'_>) -> Option<(String, Symbols)> {
        let count = self.count(read)?.min(MAX_SYMBOLS);
        let mut names = vec![0; self.names_bytes.min(MAX_NAMES) as usize];
        read_pages(read, self.names, &mut names);
        let text = |at: u64| {
            let bytes = names.get(usize::try_from(at).ok()?..)?;
            let end = bytes.iter().position(|&byte| byte == 0)?;
            Some(String::from_utf8_lossy(&bytes[..end]).replace([';', ' '], "_"))
        };
        let mut table = vec![0; (count * SYMBOL_BYTES) as usize];
        read_pages(read, self.symbols, &mut table);
        let function = |symbol: &[u8]| {
            let (name, kind, section) = (number(symbol, 0, 4), symbol[4] & 15, number(symbol, 6, 2));
            let is_function = section != 0 && matches!(kind, FUNCTION | INDIRECT_FUNCTION);
            let name = text(name).filter(|name| is_function && !name.is_empty())?;
            Some((self.bias.wrapping_add(number(symbol, 8, 8)), number(symbol, 16, 8), name))
        };
        let functions = table.chunks_exact(SYMBOL_BYTES as usize).filter_map(function).collect();
        Some((self.name.and_then(text).unwrap_or_default(), Symbols::new(functions)))
    }
}

/// Reads what is mapped; the rest stays zero.
fn read_pages(read: &mut Read<'_>, from: u64, to: &mut [u8]) {
    let mut done = 0;
    while done < to.len() {
        let at = from.wrapping_add(done as u64);
        let len = ((PAGE - at % PAGE) as usize).min(to.len() - done);
        read(at, &mut to[done..done + len]);
        done += len;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::FileExt;

    /// Reads this process's own memory, as a guest's.
    fn own() -> impl FnMut(u64, &mut [u8]) -> bool {
        let memory = File::open("/proc/self/mem").unwrap();
        move |at, to| memory.read_exact_at(to, at).is_ok()
    }

    #[test]
    fn functions_of_libraries_and_the_program_are_found_in_memory() {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
        let start = u64::from_str_radix(&stack[..stack.find('-').unwrap()], 16).unwrap();
        let program = std::env::current_exe().unwrap();
        let program = program.file_name().unwrap().to_str().unwrap();
        let function = libc::getpid as *const () as u64;
        let mut modules = Modules::default();
        for _ in 0..2 {
            let frames = modules.stack(&mut own(), 1, function, start);
            let frames: Vec<&str> = frames.split(';').collect();
            assert!(frames[0].ends_with(program), "{frames:?}");
            assert_eq!(frames[1..], ["libc.so.6", "getpid", &format!("{function:#x}")]);
            let here = own as *const () as u64;
            let frames = modules.stack(&mut own(), 1, here, start);
            assert!(frames.contains(";main;"), "{frames}");
        }
        let frames = modules.stack(&mut own(), 2, 0x1000, 0x1000);
        assert_eq!(frames, "program;anonymous;0x1000");
    }

    #[test]
    fn memory_that_makes_no_sense_has_no_names() {
        let mut random = 1u64;
        for _ in 0..2000 {
            let mut memory = vec![0; 0x4000];
            for byte in &mut memory {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                *byte = (random >> 56) as u8 & (random >> 48) as u8;
            }
            memory[..4].copy_from_slice(b"\x7fELF");
            memory[32..40].copy_from_slice(&64u64.to_le_bytes());
            memory[56..58].copy_from_slice(&3u16.to_le_bytes());
            memory[64..68].copy_from_slice(&1u32.to_le_bytes());
            memory[72..80].fill(0);
            memory[120..124].copy_from_slice(&2u32.to_le_bytes());
            let mut read = |at: u64, to: &mut [u8]| {
                let Some(end) = at.checked_add(to.len() as u64).filter(|&end| end <= 0x4000) else {
                    return false;
                };
                to.copy_from_slice(&memory[at as usize..end as usize]);
                true
            };
            let frames = Modules::default().stack(&mut read, 1, 0x2345, 0x3000);
            assert!(frames.ends_with("0x2345"), "{frames}");
        }
    }
}
