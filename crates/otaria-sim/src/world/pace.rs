//! A device's CPU stands still while its flash is busy.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use crate::flash::Busy;

/// Runs `future` as a chip does that executes from the flash it writes: what the flash charges to `busy` has to pass before the
/// future is polled again, whatever wakes it meanwhile. `sleep` waits in the time that surrounds the device.
///
/// Until the time has passed `busy.is_busy()` tells others that a command is going on.
pub async fn paced<F, S>(busy: Busy, mut sleep: impl FnMut(Duration) -> S, future: F) -> F::Output
where
    F: Future,
    S: Future<Output = ()>,
{
    let mut future = pin!(future);
    loop {
        let output = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if !busy.is_busy() => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        if busy.is_busy() {
            sleep(busy.settle()).await;
            busy.settled();
        }
        if let Some(output) = output {
            return output;
        }
    }
}
