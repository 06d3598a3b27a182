//! The hand-over of plain blocks from the receiver to the writer.

use core::cell::{Cell, RefCell};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embedded_storage::nor_flash::NorFlash;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::MAX_BLOCK_LEN;

use super::{Fetch, Observer, let_others_run};
use crate::board::Clock;
use crate::storage::region::Region;
use crate::storage::slot::{EraseState, SlotError, SlotWriter};

/// One plain block on its way from the receiver to the writer.
///
/// Who holds the buffer is said by `full`: nothing in it, the receiver may fill it; a block in it, the writer empties it. Both
/// borrow it only between two `await`s.
pub(super) struct Pipe<'w> {
    plain: RefCell<&'w mut [u8; MAX_BLOCK_LEN]>,
    full: Cell<Option<Block>>,
    ended: Cell<bool>,
    filled: Signal<NoopRawMutex, ()>,
    emptied: Signal<NoopRawMutex, ()>,
}

#[derive(Clone, Copy)]
struct Block {
    index: u32,
    len: usize,
}

impl<'w> Pipe<'w> {
    pub(super) fn new(plain: &'w mut [u8; MAX_BLOCK_LEN]) -> Self {
        Self {
            plain: RefCell::new(plain),
            full: Cell::new(None),
            ended: Cell::new(false),
            filled: Signal::new(),
            emptied: Signal::new(),
        }
    }

    /// Waits until the buffer is empty, lets `fill` put block `index` of `len` bytes into it, and hands it to the writer.
    pub(super) async fn put<E>(
        &self,
        index: u32,
        len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.full.get().is_some() {
            self.emptied.wait().await;
        }
        {
            let mut plain = self.plain.borrow_mut();
            fill(plain.get_mut(..len).unwrap_or_default())?;
        }
        self.full.set(Some(Block { index, len }));
        self.filled.signal(());
        Ok(())
    }

    /// Nothing more will come. The writer ends when the buffer is empty.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.filled.signal(());
    }

    /// The writer: writes blocks as they come, and erases ahead while none does. Ends after [`Pipe::end`], or with the first
    /// failure.
    pub(super) async fn write<F: NorFlash, K: Clock, O: Observer>(
        &self,
        fetch: &Fetch<'_, '_, F, K, O>,
        writer: &mut SlotWriter<Region<'_, F>>,
        block_len: u32,
    ) -> Result<(), FailureCode> {
        let Fetch {
            stores,
            clock,
            observer,
            times,
            ..
        } = fetch;
        let failed = |error: SlotError| fetch.words.failed(&error);
        loop {
            match self.full.get() {
                Some(block) if writer.can_begin_block() => {
                    let len = u32::try_from(block.len).unwrap_or(u32::MAX);
                    writer.begin_block(block.index, len).map_err(failed)?;
                    let mut done = 0;
                    while done < block.len {
                        let began = clock.now();
                        let taken = {
                            let plain = self.plain.borrow();
                            let rest = plain.get(done..block.len).unwrap_or_default();
                            writer.write(rest).map_err(failed)?
                        };
                        done += taken;
                        let_others_run().await;
                        times.add_write(clock.now() - began);
                    }
                    let began = clock.now();
                    writer
                        .finish_block(&mut stores.journal.borrow_mut())
                        .map_err(failed)?;
                    self.full.set(None);
                    self.emptied.signal(());
                    let_others_run().await;
                    times.add_write(clock.now() - began);
                    observer.progress(writer.blocks_held().saturating_mul(block_len));
                }
                None if self.ended.get() => return Ok(()),
                waiting => {
                    let began = clock.now();
                    let state = writer
                        .poll_erase(&mut stores.journal.borrow_mut())
                        .map_err(failed)?;
                    match state {
                        EraseState::More => {
                            let_others_run().await;
                            times.add_erase(clock.now() - began);
                        }
                        // All is erased, and yet the block cannot begin: it is not one that the writer waits for.
                        EraseState::Done if waiting.is_some() => {
                            return Err(failed(SlotError::OutOfOrder));
                        }
                        EraseState::Done => self.filled.wait().await,
                    }
                }
            }
        }
    }
}
