//! Passwords can be tried only so often from one address.
//!
//! A bucket for each address: ten tries at once, then one in six seconds. A try that succeeds is given back. Addresses of
//! IPv6 count by their /64, which is what one customer has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// Tries that are allowed at once.
const BURST: i64 = 10;
/// Milliseconds until another one is.
const REFILL_MS: i64 = 6_000;
/// Addresses that are remembered; when there are more, those that have waited long enough are forgotten.
const MANY: usize = 4_096;

/// Tries by address.
#[derive(Debug, Default)]
pub(crate) struct Limiter(Mutex<HashMap<IpAddr, i64>>);

impl Limiter {
    /// Takes a try, or says in how many seconds there will be one. `now` in milliseconds.
    pub(crate) fn take(&self, from: IpAddr, now: i64) -> Result<(), i64> {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() > MANY {
            spent.retain(|_, free_at| *free_at > now);
        }
        // When the bucket is full again: each try puts that off.
        let full_at = spent.entry(place(from)).or_insert(now);
        let after = (*full_at).max(now) + REFILL_MS;
        let too_much = after - now - BURST * REFILL_MS;
        if too_much > 0 {
            return Err((too_much + 999) / 1000);
        }
        *full_at = after;
        Ok(())
    }

    /// Gives a try back.
    pub(crate) fn give_back(&self, from: IpAddr) {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full_at) = spent.get_mut(&place(from)) {
            *full_at -= REFILL_MS;
        }
    }
}

fn place(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(four) => four.into(),
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_run_out_and_come_back_with_time() {
        let limiter = Limiter::default();
        let here = IpAddr::from([192, 0, 2, 1]);
        for _ in 0..BURST {
            assert_eq!(limiter.take(here, 0), Ok(()));
        }
        assert_eq!(limiter.take(here, 0), Err(6));
        assert_eq!(limiter.take(here, 5_999), Err(1));
        assert_eq!(limiter.take(IpAddr::from([192, 0, 2, 2]), 0), Ok(()));
        assert_eq!(limiter.take(here, 6_000), Ok(()));
        assert_eq!(limiter.take(here, 6_000), Err(6));
        limiter.give_back(here);
        assert_eq!(limiter.take(here, 6_000), Ok(()));
    }

    #[test]
    fn an_address_of_ipv6_is_its_network() {
        let limiter = Limiter::default();
        for host in 0..BURST {
            let from = format!("2001:db8::{host:x}").parse().unwrap();
            assert_eq!(limiter.take(from, 0), Ok(()));
        }
        assert!(limiter.take("2001:db8::ffff".parse().unwrap(), 0).is_err());
        assert!(limiter.take("2001:db8:0:1::1".parse().unwrap(), 0).is_ok());
        let mapped = limiter.take("::ffff:192.0.2.1".parse().unwrap(), 0);
        assert_eq!(mapped, Ok(()));
    }
}
