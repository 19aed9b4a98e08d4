//! Names of addresses.

use c2w_packer::kernel;
use object::{Object, ObjectSymbol, SymbolKind};

/// How far from the last symbol an address still belongs to it, if its length is not known.
const MOST_BYTES: u64 = 1 << 20;

/// Functions by address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Start, length or 0 if it is not known, and name, in order.
    functions: Vec<(u64, u64, String)>,
}

impl Symbols {
    /// Functions in any order.
    pub fn new(mut functions: Vec<(u64, u64, String)>) -> Self {
        // Of several names, the one that people use: it has fewer underscores in front.
        let underscores = |name: &str| name.len() - name.trim_start_matches('_').len();
        functions.sort_by_cached_key(|(start, _, name)| (*start, underscores(name), name.clone()));
        functions.dedup_by_key(|function| function.0);
        Self { functions }
    }

    /// Those of a kernel, or of a program that runs without one: its own symbol table, or the `System.map` that was built
    /// with it.
    pub fn of_kernel(file: &[u8]) -> Self {
        let own = Self::of_elf(file);
        if !own.functions.is_empty() {
            return own;
        }
        kernel::system_map(file).map(|map| Self::of_system_map(&map)).unwrap_or_default()
    }

    fn of_elf(file: &[u8]) -> Self {
        let Ok(file) = object::File::parse(file) else { return Self::default() };
        let code = file.symbols().filter(|symbol| {
            symbol.is_definition() && matches!(symbol.kind(), SymbolKind::Text | SymbolKind::Label)
                || symbol.kind() == SymbolKind::Unknown && symbol.is_definition()
        });
        let functions = code.filter_map(|symbol| {
            let name = symbol.name().ok().filter(|name| !name.is_empty())?;
            Some((symbol.address(), symbol.size(), name.to_owned()))
        });
        Self::new(functions.collect())
    }

    /// Lines of address, kind and name, as nm(1) has them.
    fn of_system_map(text: &str) -> Self {
        let function = |line: &str| {
            let mut fields = line.split_whitespace();
            let address = u64::from_str_radix(fields.next()?, 16).ok()?;
            let kind = fields.next()?;
            matches!(kind, "t" | "T" | "w" | "W").then_some((address, 0, fields.next()?.to_owned()))
        };
        Self::new(text.lines().filter_map(function).collect())
    }

    /// The function that an address belongs to.
    pub fn at(&self, address: u64) -> Option<&str> {
        let behind = self.functions.partition_point(|function| function.0 <= address);
        let (start, len_bytes, name) = self.functions.get(behind.checked_sub(1)?)?;
        let most = if *len_bytes == 0 { MOST_BYTES } else { *len_bytes };
        (address - start < most).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_belong_to_the_function_before_them() {
        let map = "ffffffff81000000 T _text\nffffffff81000100 t second\nffffffff81002000 D data\nbad line\n";
        let symbols = Symbols::of_system_map(map);
        assert_eq!(symbols.at(0xffff_ffff_8100_0000), Some("_text"));
        assert_eq!(symbols.at(0xffff_ffff_8100_00ff), Some("_text"));
        assert_eq!(symbols.at(0xffff_ffff_8100_0100), Some("second"));
        assert_eq!(symbols.at(0xffff_ffff_8100_2010), Some("second"));
        assert_eq!(symbols.at(0xffff_ffff_80ff_ffff), None);
        assert_eq!(symbols.at(0xffff_ffff_9100_0000), None);
        let aliases = Symbols::new(vec![(16, 0, "__f".into()), (16, 0, "f".into()), (16, 0, "_f".into())]);
        assert_eq!(aliases.at(16), Some("f"));
        let sized = Symbols::new(vec![(16, 4, "f".into())]);
        assert_eq!((sized.at(19), sized.at(20), sized.at(15)), (Some("f"), None, None));
    }
}
