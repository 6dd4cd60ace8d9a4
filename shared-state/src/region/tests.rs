//! What a window promises: the same bytes at any alignment, and not one beyond its ends.

use super::*;

#[test]
fn what_is_written_is_read_at_any_alignment() {
    let region = Region::private(256);
    for offset in 0..16 {
        for len in 0..40 {
            let bytes: Vec<u8> = (0..len).map(|i| (i * 7 + offset) as u8 | 1).collect();
            region.zero();
            region.copy_in(offset, &bytes);
            assert_eq!(region.to_vec(offset, len), bytes);
            assert_eq!(region.to_vec(0, offset), vec![0; offset]);
            assert!(region.to_vec(offset + len, 8).iter().all(|b| *b == 0));
        }
    }
}

#[test]
fn a_record_comes_back_as_it_went() {
    let region = Region::private(64);
    region.write(4, &[1u32, 2, 3]);
    assert_eq!(region.read::<[u32; 3]>(4), [1, 2, 3]);
    assert_eq!(region.u32(8).load(Ordering::Relaxed), 2);
    assert_eq!(region.u64s(0, 8).len(), 8);
}

#[test]
fn a_slice_sees_the_same_bytes_and_not_one_more() {
    let region = Region::private(64);
    let inner = region.slice(16, 16).unwrap();
    inner.u64(8).store(9, Ordering::Relaxed);
    assert_eq!(region.u64(24).load(Ordering::Relaxed), 9);
    assert_eq!(inner.len(), 16);
    assert_eq!(
        region.slice(60, 8).unwrap_err().to_string(),
        "bytes 60..60+8 asked of a region of 64 bytes"
    );
    assert!(region.slice(usize::MAX, 2).is_err());
    assert!(region.slice(64, 0).unwrap().is_empty());
}

#[test]
fn what_is_discarded_reads_as_zero_and_its_neighbours_stay() {
    let memory = Region::private(5 * 4096);
    memory.copy_in(0, &[7; 5 * 4096]);
    memory.slice(100, 3 * 4096).unwrap().discard();
    assert_eq!(memory.to_vec(0, 100), [7; 100]);
    assert!(memory.to_vec(100, 3 * 4096).iter().all(|byte| *byte == 0));
    assert_eq!(memory.to_vec(100 + 3 * 4096, 50), [7; 50]);
    memory.slice(0, 10).unwrap().discard();
    assert_eq!(memory.to_vec(0, 10), [0; 10]);
}

#[test]
#[should_panic(expected = "bytes 60..60+8 of a region of 64 bytes")]
fn a_word_past_the_end_is_a_bug() {
    Region::private(64).u64(60);
}

#[test]
#[should_panic(expected = "word of 8 bytes at offset 4")]
fn a_misaligned_word_is_a_bug() {
    Region::private(64).u64(4);
}

#[test]
#[should_panic(expected = "read-only")]
fn a_store_to_a_read_only_region_is_refused_before_the_cpu_does() {
    let memory = Region::private(64);
    // SAFETY: the same live mapping, with fewer rights.
    let region = unsafe { Region::from_raw(memory.ptr, 64, false) };
    assert_eq!(region.read::<u64>(0), 0);
    region.copy_in(0, &[1]);
}

#[test]
fn touching_changes_nothing() {
    let region = Region::private(10_000);
    region.copy_in(4096, &[5; 8]);
    region.touch();
    assert_eq!(region.to_vec(4096, 8), vec![5; 8]);
}
