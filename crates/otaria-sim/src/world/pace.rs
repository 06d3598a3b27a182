//! A device's CPU stands still while its flash is busy.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use crate::flash::Busy;

/// Runs `future` as a chip does that executes from the flash it writes: what the flash charges to `busy` has to pass before the
/// future is polled again, whatever wakes it meanwhile. `sleep` waits in the time that surrounds the device.
///
/// The account is settled only when the time has passed, so `busy.pending()` tells others whether a command is going on.
pub async fn paced<F, S>(busy: Busy, mut sleep: impl FnMut(Duration) -> S, future: F) -> F::Output
where
    F: Future,
    S: Future<Output = ()>,
{
    let mut future = pin!(future);
    loop {
        let output = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if busy.pending().is_zero() => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        if !busy.pending().is_zero() {
            sleep(busy.pending()).await;
            let _ = busy.take();
        }
        if let Some(output) = output {
            return output;
        }
    }
}
