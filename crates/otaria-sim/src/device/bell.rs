//! A wake-up for whoever waits until something is so.

use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};

/// Rings when a state has changed that others wait for.
#[derive(Default)]
pub(crate) struct Bell(RefCell<Vec<Waker>>);

impl Bell {
    /// Lets all who wait look again.
    pub(crate) fn ring(&self) {
        self.0.take().into_iter().for_each(Waker::wake);
    }

    /// Waits until `is_so` says yes; it is asked whenever the bell rings.
    pub(crate) async fn until(&self, mut is_so: impl FnMut() -> bool) {
        poll_fn(|cx| {
            if is_so() {
                return Poll::Ready(());
            }
            let mut waiting = self.0.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}
