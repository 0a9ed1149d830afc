//! What checking a password costs: so that refusals all cost the same, whatever forms stand in one file.
//!
//! A file may hold Argon2id beside Mosquitto's forms, which are a thousand times as fast. A refusal first costs what its
//! user's form does, or nothing for an unknown name; then all that is left of the dearest of each form in the file.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use pbkdf2::pbkdf2_hmac;
use sha2::{Digest, Sha256, Sha512};

/// Allocations of this size always get pages of their own from the system.
const MAPPED_BYTES_MIN: usize = 33 << 20;

/// Work of each form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effort {
    /// Settings of Argon2id, once each: how their times compare can't be told beforehand.
    pub(crate) argon2id: Vec<(Params, Version)>,
    /// Iterations of PBKDF2-HMAC-SHA512 (`$7$`).
    pub(crate) pbkdf2_sha512: u32,
    /// Iterations of PBKDF2-HMAC-SHA256 (SCRAM).
    pub(crate) pbkdf2_sha256: u32,
    /// Whether there is a plain SHA-512 (`$6$`).
    pub(crate) sha512: bool,
}

const SALT: &[u8] = b"of no user at all";

impl Effort {
    /// Makes it at least as much as another, in every form.
    pub(crate) fn raise_to(&mut self, other: &Self) {
        for setting in &other.argon2id {
            if !self.argon2id.contains(setting) {
                self.argon2id.push(setting.clone());
            }
        }
        self.pbkdf2_sha512 = self.pbkdf2_sha512.max(other.pbkdf2_sha512);
        self.pbkdf2_sha256 = self.pbkdf2_sha256.max(other.pbkdf2_sha256);
        self.sha512 |= other.sha512;
    }

    /// What is left of it when `spent` is done.
    pub(crate) fn without(&self, spent: &Self) -> Self {
        Self {
            argon2id: self.argon2id.iter().filter(|one| !spent.argon2id.contains(one)).cloned().collect(),
            pbkdf2_sha512: self.pbkdf2_sha512.saturating_sub(spent.pbkdf2_sha512),
            pbkdf2_sha256: self.pbkdf2_sha256.saturating_sub(spent.pbkdf2_sha256),
            sha512: self.sha512 && !spent.sha512,
        }
    }

    /// Does the work, for nothing.
    pub(crate) fn spend(&self, password: &[u8]) {
        for (params, version) in &self.argon2id {
            let mut hash = vec![0; params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN)];
            // The settings were accepted with the file; if they were not, there was nothing to hide.
            let _ = argon2id(params, *version, password, SALT, &mut hash);
            std::hint::black_box(hash);
        }
        if self.pbkdf2_sha512 > 0 {
            std::hint::black_box(pbkdf2_sha512(password, SALT, self.pbkdf2_sha512));
        }
        if self.pbkdf2_sha256 > 0 {
            std::hint::black_box(pbkdf2_sha256(password, SALT, self.pbkdf2_sha256));
        }
        if self.sha512 {
            std::hint::black_box(sha512(password, SALT));
        }
    }
}

/// Argon2id with memory that goes back to the system at once.
///
/// Blocks of up to 32 MiB would come from the allocator's heaps and stay there, tens of megabytes for each thread that
/// ever checked a password. From 32 MiB on they are mapped and unmapped; pages that are never touched cost nothing.
pub(crate) fn argon2id(
    params: &Params,
    version: Version,
    password: &[u8],
    salt: &[u8],
    hash: &mut [u8],
) -> Result<(), argon2::Error> {
    #[cfg(test)]
    spent::add([1, 0, 0, 0]);
    let blocks = params.block_count();
    let mut memory = Vec::with_capacity(blocks.max(MAPPED_BYTES_MIN / Block::SIZE));
    memory.resize(blocks, Block::default());
    Argon2::new(Algorithm::Argon2id, version, params.clone()).hash_password_into_with_memory(
        password,
        salt,
        hash,
        &mut memory[..],
    )
}

pub(crate) fn pbkdf2_sha512(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 64] {
    #[cfg(test)]
    spent::add([0, iterations, 0, 0]);
    let mut hash = [0; 64];
    pbkdf2_hmac::<Sha512>(password, salt, iterations, &mut hash);
    hash
}

pub(crate) fn pbkdf2_sha256(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    #[cfg(test)]
    spent::add([0, 0, iterations, 0]);
    let mut hash = [0; 32];
    pbkdf2_hmac::<Sha256>(password, salt, iterations, &mut hash);
    hash
}

pub(crate) fn sha512(password: &[u8], salt: &[u8]) -> [u8; 64] {
    #[cfg(test)]
    spent::add([0, 0, 0, 1]);
    Sha512::new().chain_update(password).chain_update(salt).finalize().into()
}

/// Counts the work of a thread: how often Argon2id, iterations of both PBKDF2, how often SHA-512.
#[cfg(test)]
pub(crate) mod spent {
    use std::cell::Cell;

    thread_local!(static SPENT: Cell<[u32; 4]> = const { Cell::new([0; 4]) });

    pub(super) fn add(work: [u32; 4]) {
        let before = SPENT.get();
        SPENT.set(std::array::from_fn(|form| before[form] + work[form]));
    }

    pub(crate) fn take() -> [u32; 4] {
        SPENT.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argon(kib: u32) -> (Params, Version) {
        (Params::new(kib, 1, 1, None).unwrap(), Version::V0x13)
    }

    #[test]
    fn what_is_spent_and_what_is_left_are_the_whole() {
        let one = Effort { argon2id: vec![argon(64)], pbkdf2_sha512: 101, ..Effort::default() };
        let two = Effort { argon2id: vec![argon(64), argon(128)], pbkdf2_sha512: 7, ..Effort::default() };
        let three = Effort { pbkdf2_sha256: 4096, sha512: true, ..Effort::default() };
        let mut whole = Effort::default();
        [&one, &two, &three].into_iter().for_each(|effort| whole.raise_to(effort));
        let expected = Effort {
            argon2id: vec![argon(64), argon(128)],
            pbkdf2_sha512: 101,
            pbkdf2_sha256: 4096,
            sha512: true,
        };
        assert_eq!(whole, expected);
        assert_eq!(whole.without(&Effort::default()), whole);
        assert_eq!(whole.without(&whole), Effort::default());
        let left = whole.without(&two);
        assert_eq!(left.argon2id, []);
        assert_eq!(left.pbkdf2_sha512, 94);
        assert!(left.sha512);
    }
}
