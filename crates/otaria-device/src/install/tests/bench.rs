//! A device that only fetches, and the server that it fetches from.

use core::cell::{Cell, RefCell};
use core::fmt;
use std::format;
use std::rc::Rc;
use std::string::String;
use std::vec;
use std::vec::Vec;

use otaria_engine::admission::DeviceFacts;
use otaria_engine::machine::Admitted;
use otaria_engine::slot::Slot;
use otaria_wire::messages::{Desired, FailureCode, Level};
use otaria_wire::package::{Cipher, Codec, Header, KeyId, SignedHeader};
use otaria_wire::partitions::DEFAULT_4MB;
use otaria_wire::{FixedText, Sha256Digest};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};

use crate::board::{Clock, Instant};
use crate::encryption::DecryptionKeys;
use crate::http::{HttpClient, UrlPolicy};
use crate::install::{
    Fetch, FetchError, Observer, Starts, Stores, Times, Words, Workspace, verify,
};
use crate::net::testing::{Dial, FakeClock, FakeNet, Wire, run};
use crate::storage::test_flash::TestFlash;
use crate::storage::test_package::{TestPackage, image};
use crate::storage::verify::VerifiedImage;
use crate::trust::{KeyRing, Trust};

pub(super) const BLOCK: u32 = 16_384;
pub(super) const URL: &str = "http://files/app.otaria";
const CONNECTIONS: usize = 24;

fn signer() -> SigningKey {
    SigningKey::from_slice(&[3; 32]).unwrap()
}

fn point() -> [u8; 65] {
    signer()
        .verifying_key()
        .to_sec1_point(false)
        .as_bytes()
        .try_into()
        .unwrap()
}

/// A package file and what is in it.
#[derive(Clone)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) image: Vec<u8>,
    pub(super) identity: Sha256Digest,
    pub(super) blocks_at: usize,
    /// Start of each block in the file, and the end of the last.
    pub(super) starts: Vec<usize>,
}

/// A deflate stream of stored blocks: what needs no compressor (RFC 1951, 3.2.4).
fn deflate(plain: &[u8]) -> Vec<u8> {
    let len = u16::try_from(plain.len()).unwrap();
    let mut out = vec![1];
    out.extend(len.to_le_bytes());
    out.extend((!len).to_le_bytes());
    out.extend(plain);
    out
}

impl File {
    /// A package of an image of `len` bytes; `n` makes packages differ everywhere, and is the sequence.
    pub(super) fn new(n: u8, len: usize) -> Self {
        Self::with(image(n, len, true), n, |_| {})
    }

    pub(super) fn with(image: Vec<u8>, n: u8, change: impl FnOnce(&mut Header)) -> Self {
        let package = TestPackage::with(image, n, BLOCK, |header| {
            header.key_id = KeyId::of_public_point(&point());
            change(header);
        });
        let mut header = (*package.header).clone();
        let blocks: Vec<Vec<u8>> = package
            .image
            .chunks(BLOCK as usize)
            .map(|plain| {
                if header.codec == Codec::Deflate {
                    deflate(plain)
                } else {
                    plain.to_vec()
                }
            })
            .collect();
        let mut table = Vec::new();
        for block in &blocks {
            table.extend((block.len() as u32).to_le_bytes());
            table.extend(Sha256Digest::of(block).0);
        }
        header.table_sha256 = Sha256Digest::of(&table);
        let signature: Signature = signer()
            .sign_prehash(&Sha256Digest::of(&header.signed_message()).0)
            .unwrap();
        let header = SignedHeader::new(header, signature.to_bytes().into()).unwrap();
        let mut bytes = header.to_bytes().to_vec();
        bytes.extend(table);
        if header.untrusted().flags.cosigned {
            bytes.push(2);
            bytes.extend([0x5A; 72]);
            bytes.extend([0xA5; 72]);
        }
        let blocks_at = bytes.len();
        let mut starts = vec![blocks_at];
        for block in &blocks {
            bytes.extend(block);
            starts.push(bytes.len());
        }
        Self {
            bytes,
            image: package.image,
            identity: header.identity(),
            blocks_at,
            starts,
        }
    }
}

impl File {
    /// The same package after one more key has co-signed it.
    pub(super) fn cosigned_again(&self) -> Self {
        let mut file = self.clone();
        file.bytes[self.blocks_at - 2 * 72 - 1] += 1;
        file.bytes
            .splice(self.blocks_at..self.blocks_at, [0x33; 72]);
        file.blocks_at += 72;
        for start in &mut file.starts {
            *start += 72;
        }
        file
    }
}

/// What a server serves, and how.
#[derive(Clone)]
pub(super) struct Serving {
    pub(super) bytes: Vec<u8>,
    pub(super) etag: Option<&'static str>,
    pub(super) ranges: bool,
    /// It says how long the file is.
    pub(super) length: bool,
}

impl Serving {
    pub(super) fn new(file: &File) -> Self {
        Self {
            bytes: file.bytes.clone(),
            etag: Some("\"one\""),
            ranges: true,
            length: true,
        }
    }
}

/// How often the server damages a byte that it sends.
#[derive(Clone, Copy)]
pub(super) struct Damage {
    pub(super) at: usize,
    pub(super) times: u32,
}

pub(super) struct Server {
    pub(super) serving: Serving,
    /// Bytes of the file up to which the next connections send before they close, one each.
    pub(super) cuts: Vec<usize>,
    pub(super) damage: Option<Damage>,
    /// Position asked for and If-Range of each request.
    pub(super) asked: Vec<(Option<usize>, Option<String>)>,
}

impl Server {
    fn answer(&mut self, request: &str, wire: &mut Wire) {
        let line = |name: &str| {
            let found = request.lines().find_map(|line| line.strip_prefix(name));
            found.map(|value| String::from(value.trim()))
        };
        let from = line("Range: bytes=")
            .map(|range| range.trim_end_matches('-').parse::<usize>().unwrap());
        let if_range = line("If-Range:");
        self.asked.push((from, if_range.clone()));
        let Serving {
            bytes,
            etag,
            ranges,
            length,
        } = &self.serving;
        let stale = if_range.is_some_and(|asked| etag.is_none_or(|etag| etag != asked));
        let start = from.filter(|_| *ranges && !stale).unwrap_or(0);
        if start > 0 && start >= bytes.len() {
            let head = format!(
                "HTTP/1.1 416 x\r\nContent-Range: bytes */{}\r\nContent-Length: 0\r\n\r\n",
                bytes.len()
            );
            wire.send(head.as_bytes());
            return wire.close();
        }
        let mut head = if start > 0 {
            format!(
                "HTTP/1.1 206 x\r\nContent-Range: bytes {start}-{}/{}\r\n",
                bytes.len() - 1,
                bytes.len()
            )
        } else {
            String::from("HTTP/1.1 200 OK\r\n")
        };
        if *length {
            head += &format!("Content-Length: {}\r\n", bytes.len() - start);
        }
        if let Some(etag) = etag {
            head += &format!("ETag: {etag}\r\n");
        }
        wire.send((head + "\r\n").as_bytes());
        let end = if self.cuts.is_empty() {
            bytes.len()
        } else {
            self.cuts.remove(0).clamp(start, bytes.len())
        };
        let mut body = bytes[start..end].to_vec();
        if let Some(Damage { at, times }) = &mut self.damage
            && (start..end).contains(at)
            && *times > 0
        {
            *times -= 1;
            body[*at - start] ^= 0x10;
        }
        wire.send(&body);
        wire.close();
    }
}

/// What the observer saw.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) admitted: RefCell<Vec<Admitted>>,
    pub(super) progress: RefCell<Vec<u32>>,
}

impl Observer for Seen {
    fn admitted(&self, admitted: Admitted) {
        self.admitted.borrow_mut().push(admitted);
    }

    fn progress(&self, done: u32) {
        self.progress.borrow_mut().push(done);
    }

    fn note(&self, _: Level, _: fmt::Arguments<'_>) {}
}

pub(super) struct Bench {
    pub(super) flash: RefCell<TestFlash>,
    pub(super) server: Rc<RefCell<Server>>,
    pub(super) seen: Seen,
    pub(super) running_image: Option<Sha256Digest>,
    /// The image that the wish declares.
    pub(super) declared_image: Option<Sha256Digest>,
    pub(super) times: Times,
    /// What was said of the last failure.
    pub(super) words: Words,
    /// Bytes that the last fetch's future had.
    pub(super) future_size: Cell<usize>,
}

impl Bench {
    pub(super) fn new(file: &File) -> Self {
        Self {
            flash: RefCell::new(TestFlash::new(1024)),
            server: Rc::new(RefCell::new(Server {
                serving: Serving::new(file),
                cuts: Vec::new(),
                damage: None,
                asked: Vec::new(),
            })),
            seen: Seen::default(),
            running_image: None,
            declared_image: None,
            times: Times::new(),
            words: Words::new(),
            future_size: Cell::new(0),
        }
    }

    pub(super) fn serve(&self) -> core::cell::RefMut<'_, Server> {
        self.server.borrow_mut()
    }

    pub(super) fn asked(&self) -> Vec<Option<usize>> {
        self.server
            .borrow()
            .asked
            .iter()
            .map(|(from, _)| *from)
            .collect()
    }

    pub(super) fn stores(&self) -> Stores<'_, TestFlash> {
        Stores::open(&self.flash, &DEFAULT_4MB, Some(Slot::Ota0)).unwrap()
    }

    pub(super) fn keys() -> KeyRing {
        KeyRing::of(&[point()]).unwrap()
    }

    /// One try, from a fresh start of the device.
    pub(super) fn fetch(&self) -> Result<(), FetchError> {
        self.fetch_for(URL, usize::MAX).expect("it ends")
    }

    /// The same, from another address, or dropped after so many polls.
    pub(super) fn fetch_for(&self, url: &str, polls: usize) -> Option<Result<(), FetchError>> {
        let clock = Rc::new(FakeClock::default());
        let dials = (0..CONNECTIONS).map(|_| {
            let server = self.server.clone();
            let mut request = String::new();
            Dial::open(move |bytes: &[u8], wire: &mut Wire| {
                request.push_str(core::str::from_utf8(bytes).unwrap());
                if request.ends_with("\r\n\r\n") {
                    server
                        .borrow_mut()
                        .answer(&core::mem::take(&mut request), wire);
                }
            })
        });
        let net = FakeNet::new(&clock, dials);
        let stores = self.stores();
        let keys = Self::keys();
        let trust = Trust::new(&keys, FixedText::default());
        let starts = Starts::load(&mut stores.journal.borrow_mut(), clock.now());
        let fetch = Fetch {
            stores: &stores,
            starts: &starts,
            trust: &trust,
            decryption: &DecryptionKeys::new(),
            facts: DeviceFacts {
                product: "pump",
                chip_id: 5,
                chip_revision: 3,
                slot_len: stores.slot_len(),
                running_image: self.running_image,
                allow_unguarded: false,
                require_encryption: false,
                codecs: &[Codec::Stored, Codec::Deflate],
                ciphers: &[Cipher::None],
            },
            clock: &*clock,
            observer: &self.seen,
            times: &self.times,
            words: &self.words,
        };
        let wish = Desired {
            url: url.try_into().unwrap(),
            image_sha256: self.declared_image,
            ..Desired::default()
        };
        let mut http = HttpClient::new(&net, &*clock, UrlPolicy::ANY);
        let mut workspace = Workspace::new();
        let future = fetch.run(&mut http, &mut workspace, &wish);
        self.future_size.set(size_of_val(&future));
        let mut left = polls;
        let mut future = core::pin::pin!(future);
        let limited = core::future::poll_fn(|cx| {
            if left == 0 {
                return core::task::Poll::Ready(None);
            }
            left -= 1;
            future.as_mut().poll(cx).map(Some)
        });
        run(&clock, Instant::from_secs(100_000), limited).expect("it does not wait for nothing")
    }

    pub(super) fn code(&self) -> FailureCode {
        match self.fetch() {
            Err(FetchError::Failed(code)) => code,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn verify(&self, identity: &Sha256Digest) -> Result<VerifiedImage, FailureCode> {
        let clock = FakeClock::default();
        let stores = self.stores();
        let keys = Self::keys();
        let trust = Trust::new(&keys, FixedText::default());
        run(
            &clock,
            Instant::MAX,
            verify(&stores, &trust, &clock, &self.times, &self.words, identity),
        )
        .expect("it ends")
    }

    /// What lies in the other slot.
    pub(super) fn slot(&self, len: usize) -> Vec<u8> {
        let at = DEFAULT_4MB.slots[1].offset as usize;
        self.flash.borrow().bytes()[at..at + len].to_vec()
    }

    /// The file was fetched whole and its image verifies.
    pub(super) fn expect_installed(&self, file: &File) {
        assert!(
            self.slot(file.image.len()) == file.image,
            "the slot holds something else"
        );
        let image = self.verify(&file.identity).unwrap();
        assert_eq!(image.slot(), Slot::Ota1);
    }

    pub(super) fn ops(&self) -> usize {
        self.flash.borrow().ops
    }

    pub(super) fn sectors_erased(&self) -> usize {
        self.flash.borrow().sectors_erased
    }
}
