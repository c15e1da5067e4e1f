//! The fixed pseudo-random values of a repository, for `H` and for `spread`. Its short id decides, the one that is on
//! screens and in object names, so that anyone can work out the values with `volsync-hub next --repository ID`.

use sha2::{Digest, Sha256};

use super::fields::FieldKind;
use crate::names::RepositoryKey;

/// A value below `width` for the term at `place` of a field. It follows from these alone, so that a change elsewhere
/// in the schedule does not move it; and another field, or another place, has another value.
pub(super) fn choose(repository: &RepositoryKey, field: FieldKind, place: usize, width: u8) -> u8 {
    let value = draw(repository, field.label(), place) % u64::from(width.max(1));
    u8::try_from(value).unwrap_or(0)
}

/// Minutes below `width`.
pub(super) fn offset(repository: &RepositoryKey, width: u32) -> u32 {
    let value = draw(repository, "spread", 0) % u64::from(width.max(1));
    u32::try_from(value).unwrap_or(0)
}

/// 64 bits are so many more than any width that the remainder is even for all purposes.
fn draw(repository: &RepositoryKey, what: &str, place: usize) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"schedule v1\0");
    hash.update(repository.id().to_string());
    hash.update(what.as_bytes());
    hash.update([0]);
    hash.update((place as u64).to_be_bytes());
    let digest: [u8; 32] = hash.finalize().into();
    digest[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
