//! Passwords: argon2id with the library's parameters (19 MiB, two passes), and few at a time, so that trying them costs
//! whoever tries more than the server.

use std::sync::{Arc, LazyLock};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// Shortest password.
pub(super) const SHORTEST: usize = 12;
/// Longest: nobody types more, and hashing costs time.
pub(super) const LONGEST: usize = 256;
/// Hashes at once, each with 19 MiB.
const AT_ONCE: usize = 2;

/// What is compared when there is no such user, so that the answer takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash_now("nobody has this password"));

/// Hashes and compares.
#[derive(Clone, Debug)]
pub(crate) struct Passwords(Arc<Semaphore>);

impl Default for Passwords {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl Passwords {
    /// What is stored of a password.
    pub(crate) async fn hash(&self, password: &str) -> String {
        let password = Zeroizing::new(password.to_owned());
        self.run(move || hash_now(&password)).await
    }

    /// Whether it is this one; without a hash it is none, and takes as long.
    pub(crate) async fn matches(&self, password: &str, hash: Option<String>) -> bool {
        if password.len() > LONGEST {
            return false;
        }
        let password = Zeroizing::new(password.to_owned());
        self.run(move || {
            let known = hash.is_some();
            let text = hash.unwrap_or_else(|| NOBODY.clone());
            let same = PasswordHash::new(&text).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            });
            known && same
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Never closed.
        let _place = self.0.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}

fn hash_now(password: &str) -> String {
    Argon2::default()
        .hash_password(password.as_bytes())
        .expect("the default parameters are valid, and the system has random numbers")
        .to_string()
}
