//! Files of the code cache: what they look like.
//!
//! A segment is a header, records, an index of them and a filter; the header is written last. It has no name before it is
//! whole, and is never changed. It may still be cut short or damaged by the host: each record has a checksum, and every
//! offset is checked before it is used, so that a damaged segment only has fewer records.
//!
//! All numbers are little endian. A record may have several keys. The index is a hash table with linear probing; an offset of 0
//! marks a free place. The filter is a Bloom filter whose bits of one key are in one word: it is a thirty-second of the index, so
//! that those of many segments stay in the processor's cache, and nearly all questions for what is not there end in it.

use crate::keys::KeyHasher;
use memmap2::Mmap;
use std::collections::{HashMap, HashSet};
use std::hash::Hasher;
use std::io::{self, Seek, SeekFrom, Write};
use twox_hash::XxHash3_64;

/// The first bytes of every segment; the digit is the version of this layout.
pub const MAGIC: [u8; 8] = *b"c2wcode4";
/// Magic, fingerprint, binary logarithm of the places of the index, where that is.
const HEADER_BYTES: usize = 8 + 16 + 8 + 8;
/// Key, offset of the record and its length.
const PLACE_BYTES: usize = 16;
/// Each record begins with its checksum.
const CHECKSUM_BYTES: usize = 8;
/// Places of the index, as a binary logarithm, that share a word of the filter: there are twice to four times as many as
/// records, so that a record has 8 to 16 bits.
const LOG2_PLACES_PER_WORD: u32 = 4;
/// Bytes of a word of the filter.
const WORD_BYTES: usize = 8;
/// Most places of an index, as a binary logarithm.
const MAX_LOG2_PLACES: u64 = 24;

/// What a segment's code is good for: equal fingerprints run each other's code.
pub type Fingerprint = [u8; 16];

/// A segment in memory: a mapped file, or bytes.
pub struct Segment<B = Mmap> {
    bytes: B,
    log2_places: u32,
    index_at: usize,
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The place where probing for a key begins.
fn first_place(key: u64, log2_places: u32) -> usize {
    key as usize & ((1 << log2_places) - 1)
}

/// The word of the filter that a key has its bits in, and these bits.
fn filter_bits(key: u64, log2_places: u32) -> (usize, u64) {
    let words = 1usize << log2_places.saturating_sub(LOG2_PLACES_PER_WORD);
    // The index goes by the lowest bits.
    let bits = (0..4).fold(0, |bits, number| bits | 1 << (key >> (40 + 6 * number) & 63));
    ((key >> 20) as usize & (words - 1), bits)
}

/// Bytes of a filter.
fn filter_bytes(log2_places: u32) -> usize {
    WORD_BYTES << log2_places.saturating_sub(LOG2_PLACES_PER_WORD)
}

impl<B: AsRef<[u8]>> Segment<B> {
    /// A segment of this fingerprint; `None` if these bytes are not one.
    pub fn open(bytes: B, fingerprint: &Fingerprint) -> Option<Self> {
        let all = bytes.as_ref();
        if !all.starts_with(&MAGIC) || all.get(8..24)? != fingerprint {
            return None;
        }
        let log2_places = u64_at(all, 24).filter(|&log2| log2 <= MAX_LOG2_PLACES)? as u32;
        let index_at = usize::try_from(u64_at(all, 32)?).ok().filter(|&at| at >= HEADER_BYTES)?;
        let end = index_at.checked_add((PLACE_BYTES << log2_places) + filter_bytes(log2_places))?;
        (end <= all.len()).then_some(Self { bytes, log2_places, index_at })
    }

    /// Bytes of it all.
    pub fn len_bytes(&self) -> u64 {
        self.bytes.as_ref().len() as u64
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// What a place of the index says: a key, and where its record is and how long. `None` for a free place.
    fn place(&self, number: usize) -> Option<(u64, u32, u32)> {
        let all = self.bytes.as_ref();
        let place = self.index_at + number * PLACE_BYTES;
        let (key, at, len) = (u64_at(all, place)?, u32_at(all, place + 8)?, u32_at(all, place + 12)?);
        (at != 0).then_some((key, at, len))
    }

    /// The record that is there, if it is whole.
    fn record(&self, at: u32, len: u32) -> Option<&[u8]> {
        let all = self.bytes.as_ref();
        let checksum = u64_at(all, at as usize)?;
        let record = all.get(at as usize + CHECKSUM_BYTES..)?.get(..len as usize)?;
        (XxHash3_64::oneshot(record) == checksum).then_some(record)
    }

    /// Whether there may be records that have this key.
    fn may_have(&self, key: u64) -> bool {
        let (word, bits) = filter_bits(key, self.log2_places);
        let filter_at = self.index_at + (PLACE_BYTES << self.log2_places);
        u64_at(self.bytes.as_ref(), filter_at + word * WORD_BYTES).is_some_and(|word| word & bits == bits)
    }

    /// Records that have this key.
    pub fn find(&self, key: u64) -> impl Iterator<Item = &[u8]> {
        let places = 1usize << self.log2_places;
        let first = first_place(key, self.log2_places);
        let probed = if self.may_have(key) { places } else { 0 };
        (0..probed)
            .map_while(move |step| self.place((first + step) & (places - 1)))
            .filter(move |&(of, ..)| of == key)
            .filter_map(|(_, at, len)| self.record(at, len))
    }

    /// Every record that is whole, with its keys.
    pub fn records(&self) -> impl Iterator<Item = (Vec<u64>, &[u8])> {
        let places = (0..1 << self.log2_places).filter_map(|number| self.place(number));
        let mut keys: HashMap<u32, Vec<u64>, KeyHasher> = HashMap::with_hasher(KeyHasher);
        let mut records = Vec::new();
        for (key, at, len) in places {
            let keys = keys.entry(at).or_default();
            if keys.is_empty() {
                records.push((at, len));
            }
            keys.push(key);
        }
        records.into_iter().filter_map(move |(at, len)| Some((keys.remove(&at)?, self.record(at, len)?)))
    }
}

/// A record that has been written, and where.
struct Written {
    keys: Vec<u64>,
    at: u32,
    len: u32,
}

/// A segment that is being written, record by record.
pub struct SegmentWriter<W> {
    to: W,
    fingerprint: Fingerprint,
    len_bytes: u64,
    /// What its records are.
    fresh: Vec<Written>,
    /// The same for those that are to be found behind these.
    old: Vec<Written>,
    /// First keys and checksums of all of them.
    seen: HashSet<(u64, u64)>,
    /// Keys of all of them.
    count: usize,
    /// What the checksums are together.
    digest: XxHash3_64,
}

impl<W: Write + Seek> SegmentWriter<W> {
    /// One at the start of `to`, which is empty.
    ///
    /// # Errors
    /// That of writing.
    pub fn new(mut to: W, fingerprint: &Fingerprint) -> io::Result<Self> {
        to.write_all(&[0; HEADER_BYTES])?;
        Ok(Self {
            to,
            fingerprint: *fingerprint,
            len_bytes: HEADER_BYTES as u64,
            fresh: Vec::new(),
            old: Vec::new(),
            seen: HashSet::new(),
            count: 0,
            digest: XxHash3_64::new(),
        })
    }

    /// Its length so far.
    pub fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Adds a record, with its keys, that is to be found before those that were added so far. None is in it twice.
    ///
    /// # Errors
    /// That of writing.
    ///
    /// # Panics
    /// If there is no key.
    pub fn add(&mut self, keys: Vec<u64>, record: &[u8]) -> io::Result<()> {
        let written = self.append(keys, record)?;
        self.fresh.extend(written);
        Ok(())
    }

    /// Adds one that is to be found behind all that were added so far.
    ///
    /// # Errors
    /// That of writing.
    ///
    /// # Panics
    /// As [`Self::add`].
    pub fn add_old(&mut self, keys: Vec<u64>, record: &[u8]) -> io::Result<()> {
        let written = self.append(keys, record)?;
        self.old.extend(written);
        Ok(())
    }

    /// Writes a record, if it is not there and there is room.
    fn append(&mut self, keys: Vec<u64>, record: &[u8]) -> io::Result<Option<Written>> {
        let (Ok(at), Ok(len)) = (u32::try_from(self.len_bytes), u32::try_from(record.len())) else {
            return Ok(None);
        };
        let (checksum, count) = (XxHash3_64::oneshot(record), self.count + keys.len());
        if count >= 1 << (MAX_LOG2_PLACES - 1) || !self.seen.insert((keys[0], checksum)) {
            return Ok(None);
        }
        self.count = count;
        keys.iter().for_each(|&key| self.digest.write_u64(key));
        self.digest.write_u64(checksum);
        self.to.write_all(&checksum.to_le_bytes())?;
        self.to.write_all(record)?;
        self.len_bytes += (CHECKSUM_BYTES + record.len()) as u64;
        Ok(Some(Written { keys, at, len }))
    }

    /// Makes it whole; gives what it was written to, and a number that tells its records from others.
    ///
    /// # Errors
    /// That of writing.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        let places = (2 * self.count).next_power_of_two();
        let log2_places = places.trailing_zeros();
        let mut index = vec![0; places * PLACE_BYTES];
        let mut filter = vec![0u64; filter_bytes(log2_places) / WORD_BYTES];
        let records = self.fresh.iter().rev().chain(&self.old);
        let entries =
            records.flat_map(|Written { keys, at, len }| keys.iter().map(move |key| (*key, *at, *len)));
        for (key, at, len) in entries {
            let mut number = first_place(key, log2_places);
            let place = loop {
                let place = number * PLACE_BYTES;
                if u32_at(&index, place + 8) == Some(0) {
                    break place;
                }
                number = (number + 1) & (places - 1);
            };
            index[place..place + 8].copy_from_slice(&key.to_le_bytes());
            index[place + 8..place + 12].copy_from_slice(&at.to_le_bytes());
            index[place + 12..place + 16].copy_from_slice(&len.to_le_bytes());
            let (word, bits) = filter_bits(key, log2_places);
            filter[word] |= bits;
        }
        self.to.write_all(&index)?;
        self.to.write_all(&filter.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>())?;
        self.to.seek(SeekFrom::Start(0))?;
        self.to.write_all(&MAGIC)?;
        self.to.write_all(&self.fingerprint)?;
        self.to.write_all(&u64::from(log2_places).to_le_bytes())?;
        self.to.write_all(&self.len_bytes.to_le_bytes())?;
        self.to.flush()?;
        Ok((self.to, self.digest.finish()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_set, vec};
    use proptest::prelude::*;

    const OURS: Fingerprint = [7; 16];
    /// Records have keys below.
    const KEYS: u64 = 20;

    fn keys() -> impl Strategy<Value = Vec<u64>> {
        btree_set(0..KEYS, 1..4).prop_map(|keys| keys.into_iter().collect())
    }

    fn segment(records: &[(Vec<u64>, Vec<u8>)]) -> Vec<u8> {
        let mut writer = SegmentWriter::new(io::Cursor::new(Vec::new()), &OURS).unwrap();
        for (keys, record) in records {
            writer.add(keys.clone(), record).unwrap();
        }
        writer.finish().unwrap().0.into_inner()
    }

    #[test]
    fn what_was_added_last_is_found_first() {
        let mut writer = SegmentWriter::new(io::Cursor::new(Vec::new()), &OURS).unwrap();
        writer.add(vec![1], b"first").unwrap();
        writer.add_old(vec![1], b"old").unwrap();
        writer.add_old(vec![1], b"older").unwrap();
        writer.add(vec![1], b"second").unwrap();
        writer.add(vec![1], b"first").unwrap();
        let bytes = writer.finish().unwrap().0.into_inner();
        let segment = Segment::open(&bytes[..], &OURS).unwrap();
        assert_eq!(segment.find(1).collect::<Vec<_>>(), [&b"second"[..], b"first", b"old", b"older"]);
    }

    proptest! {
        #[test]
        fn what_was_written_is_found(records in vec((keys(), vec(any::<u8>(), 0..30)), 0..60)) {
            let bytes = segment(&records);
            let segment = Segment::open(&bytes[..], &OURS).unwrap();
            // A record is in it once, with the keys that it came with first.
            let mut distinct: Vec<(Vec<u64>, Vec<u8>)> = Vec::new();
            for (keys, record) in &records {
                if !distinct.iter().any(|(before, other)| before[0] == keys[0] && other == record) {
                    distinct.push((keys.clone(), record.clone()));
                }
            }
            for (keys, record) in &distinct {
                prop_assert!(keys.iter().all(|&key| segment.find(key).any(|found| found == record)));
            }
            let mut all: Vec<_> = segment.records().map(|(keys, record)| (keys, record.to_vec())).collect();
            all.iter_mut().for_each(|(keys, _)| keys.sort());
            all.sort();
            distinct.sort();
            prop_assert_eq!(all, distinct);
            prop_assert!(segment.find(KEYS).next().is_none());
        }

        #[test]
        fn damage_only_loses_records(
            records in vec((keys(), vec(any::<u8>(), 0..30)), 0..20),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            len in any::<prop::sample::Index>(),
        ) {
            let mut bytes = segment(&records);
            for (at, byte) in damage {
                *at.get_mut(&mut bytes) = byte;
            }
            bytes.truncate(len.index(bytes.len() + 1));
            if let Some(segment) = Segment::open(&bytes[..], &OURS) {
                let listed = segment.records().map(|(_, record)| record);
                for record in (0..KEYS).flat_map(|key| segment.find(key)).chain(listed) {
                    prop_assert!(records.iter().any(|(_, whole)| whole == record), "{record:?}");
                }
            }
        }
    }

    #[test]
    fn the_filter_knows_most_of_what_is_not_there() {
        let key = |number: u64| XxHash3_64::oneshot(&number.to_le_bytes());
        // The fullest index.
        let records: Vec<_> = (0..4096).map(|number| (vec![key(number)], vec![1])).collect();
        let bytes = segment(&records);
        let segment = Segment::open(&bytes[..], &OURS).unwrap();
        assert!((0..4096).all(|number| segment.may_have(key(number))));
        let taken_in = (4096..14096).filter(|&number| segment.may_have(key(number))).count();
        assert!(taken_in < 500, "{taken_in} of 10000");
    }

    #[test]
    fn other_fingerprints_and_other_files_are_none() {
        let bytes = segment(&[(vec![1], vec![2])]);
        assert!(Segment::open(&bytes[..], &[8; 16]).is_none());
        assert!(Segment::open(&bytes[..30], &OURS).is_none());
        assert!(Segment::open(&b"#!/bin/sh\n"[..], &OURS).is_none());
        let mut wide = bytes;
        wide[24] = 25;
        assert!(Segment::open(&wide[..], &OURS).is_none());
    }
}
