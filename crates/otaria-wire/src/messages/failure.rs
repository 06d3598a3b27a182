//! Why an update does not happen: numbers for machines, names for logs,
//! sentences for people.
//!
//! A number never changes its meaning; new ones are appended to their group.

use core::fmt;

macro_rules! failure_codes {
    ($( $(#[$group_doc:meta])* $group:ident { $( $variant:ident = $number:literal, $name:literal, $explanation:literal; )+ } )+) => {
        /// What kind of thing failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum FailureGroup {
            $( $(#[$group_doc])* $group, )+
        }

        /// Why an update does not happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum FailureCode {
            $($(
                #[doc = $explanation]
                $variant = $number,
            )+)+
        }

        impl FailureCode {
            /// All codes in the order of their numbers.
            pub const ALL: &[Self] = &[$($(Self::$variant,)+)+];

            /// The number in events and in the journal.
            #[must_use]
            pub const fn number(self) -> u16 {
                self as u16
            }

            /// The code of a number, if this version knows it.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($( $number => Some(Self::$variant), )+)+
                    _ => None,
                }
            }

            /// By hundreds: the numbers of a group follow each other.
            const NAMES: &[&[&'static str]] = &[$( &[$($name,)+], )+];

            /// A name for logs and documents.
            #[must_use]
            pub fn name(self) -> &'static str {
                let number = usize::from(self.number());
                let group = Self::NAMES.get((number / 100).wrapping_sub(1));
                group.and_then(|names| names.get(number % 100)).copied().unwrap_or_default()
            }

            /// A sentence for people: what happened, and what can be done.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self {
                    $($( Self::$variant => $explanation, )+)+
                }
            }

            /// What kind of thing failed.
            #[must_use]
            pub const fn group(self) -> FailureGroup {
                match self {
                    $($( Self::$variant => FailureGroup::$group, )+)+
                }
            }
        }
    };
}

failure_codes! {
    /// The package's header is not taken.
    Header {
        NotAPackage = 100, "not_a_package", "The address leads to something that is no package; make one with `otaria package`.";
        UnsupportedVersion = 101, "unsupported_version", "The package is of a format version that this device does not know.";
        UnsupportedFlags = 102, "unsupported_flags", "The package has flags that this device does not know.";
        UnsupportedCodec = 103, "unsupported_codec", "The package's blocks are stored in a way that this device cannot decode.";
        UnsupportedCipher = 104, "unsupported_cipher", "The package is encrypted in a way that this device cannot decrypt.";
        HeaderMalformed = 105, "header_malformed", "Fields of the package's header contradict each other.";
        UnknownKey = 106, "unknown_key", "The package is signed by a key that this device does not trust.";
        BadSignature = 107, "bad_signature", "The package's signature is wrong: the package is damaged or forged.";
        WrongProduct = 108, "wrong_product", "The package is for another product.";
        WrongChip = 109, "wrong_chip", "The package is for another chip.";
        WrongChipRevision = 110, "wrong_chip_revision", "The package is for other revisions of this chip.";
        ImageTooLarge = 111, "image_too_large", "The image does not fit into the slot.";
        SequenceNotHigher = 112, "sequence_not_higher", "The package is not newer than what this device has confirmed; to go back, package the old image again.";
        SecurityVersionTooLow = 113, "security_version_too_low", "The image's security version is below the one that this device has confirmed.";
        UnguardedRefused = 114, "unguarded_refused", "The image has no boot guard, and this device's settings do not allow that.";
        DeclaredVersionDiffers = 115, "declared_version_differs", "The package's version is not the one that was declared.";
        DeclaredImageDiffers = 116, "declared_image_differs", "The package's image is not the one that was declared.";
        Quarantined = 117, "quarantined", "The package failed its trial on this device; a new job tries it again.";
        BaseMismatch = 118, "base_mismatch", "The package is a delta against another image than the one that runs.";
        UnsupportedSignatureAlgorithm = 119, "unsupported_signature_algorithm", "The package is signed in a way that this device does not know.";
        NotARecipient = 120, "not_a_recipient", "The package is encrypted, and to no key of this device; package it for this device's or its product's key.";
        EncryptionRequired = 121, "encryption_required", "The package is not encrypted, and this device's settings demand that.";
        NotEnoughSignatures = 122, "not_enough_signatures", "The package has fewer signatures of trusted keys than this device requires; have it co-signed with `otaria cosign`.";
    }
    /// The block table or a block is not what the header promises.
    Block {
        TableHash = 200, "table_hash", "The package's block table is damaged.";
        TableMalformed = 201, "table_malformed", "The package's block table has impossible entries.";
        BlockHash = 202, "block_hash", "A block of the package is damaged.";
        BlockLength = 203, "block_length", "A block does not decode to its exact length.";
        Decode = 204, "decode", "A block does not decode.";
        RecipientsHash = 205, "recipients_hash", "The package's list of recipients is damaged.";
        ContentKey = 206, "content_key", "This device's key does not open the package: it was sealed wrongly, or for another package.";
        Decrypt = 207, "decrypt", "A block does not decrypt: it was encrypted with another key or for another package.";
    }
    /// The image in flash is not what the package promises.
    Image {
        ImageHash = 300, "image_hash", "The image in flash is not the signed one.";
        ImageMalformed = 301, "image_malformed", "The image is not one that the chip's bootloader would start.";
        DescriptorMismatch = 302, "descriptor_mismatch", "The image's own description contradicts the package's header.";
        GuardMissing = 303, "guard_missing", "The image has no boot guard of a version that fits, and the package does not say so.";
    }
    /// The package does not come through.
    Transport {
        Dns = 400, "dns", "The server's name could not be resolved.";
        Connect = 401, "connect", "The server could not be reached.";
        Tls = 402, "tls", "The secure connection to the server could not be set up.";
        TimeoutConnect = 403, "timeout_connect", "The server did not accept the connection in time.";
        TimeoutHead = 404, "timeout_head", "The server did not answer in time.";
        Stalled = 405, "stalled", "The server stopped sending.";
        EarlyClose = 406, "early_close", "The server closed the connection before the end.";
        HttpStatus = 407, "http_status", "The server answered with a status that is no success.";
        HttpMalformed = 408, "http_malformed", "The server's answer is not HTTP.";
        HeadTooLarge = 409, "head_too_large", "The head of the server's answer is too large.";
        TooManyRedirects = 410, "too_many_redirects", "The server redirects too often.";
        RedirectRefused = 411, "redirect_refused", "The server redirects to an address that this device may not use.";
        UrlInvalid = 412, "url_invalid", "The package's address is not one that can be used.";
        UrlRefused = 413, "url_refused", "This device's settings do not allow packages from that address.";
        RangeMismatch = 414, "range_mismatch", "The server sent another range than was asked for.";
        LengthMismatch = 415, "length_mismatch", "The server announced or sent another length than the package has.";
        ContentChanged = 416, "content_changed", "The file on the server changed during the download.";
        NoNetwork = 417, "no_network", "The device lost its network.";
        TlsNoCertificate = 418, "tls_no_certificate", "The server did not prove who it is: it showed no certificate.";
        TlsExpired = 419, "tls_expired", "The server's certificate has run out, or is not valid yet; see the device's time, too.";
        TlsWrongName = 420, "tls_wrong_name", "The server's certificate is for another name or address than the one in the URL.";
        TlsUnknownAuthority = 421, "tls_unknown_authority", "The server's certificate is from no authority in this device's settings (`ca`).";
        TlsNotAnAuthority = 422, "tls_not_an_authority", "The server's certificate is signed by a certificate that may not issue any.";
        TlsBadCertificate = 423, "tls_bad_certificate", "The server's certificate is malformed, forged, not for a server, or not P-256 with SHA-256.";
        TlsRefused = 424, "tls_refused", "The server refused the secure connection: it wants another certificate or key of the device, or lacks TLS 1.3.";
        TlsNoMemory = 425, "tls_no_memory", "The device has no memory for a secure connection; packages may come over plain HTTP.";
    }
    /// Flash does not do what it should.
    Flash {
        FlashErase = 500, "flash_erase", "Flash could not be erased.";
        FlashWrite = 501, "flash_write", "Flash could not be written.";
        FlashRead = 502, "flash_read", "Flash could not be read, or holds other bytes than were written.";
        JournalFull = 503, "journal_full", "The journal has no room left.";
        OtadataWrite = 504, "otadata_write", "The new slot could not be selected.";
    }
    /// The new image was tried and given up.
    Trial {
        TrialCrashed = 600, "trial_crashed", "The new image crashed three times.";
        TrialBootsExhausted = 601, "trial_boots_exhausted", "The new image was restarted ten times without proving itself.";
        HealthCheckFailed = 602, "health_check_failed", "The new image's own health check failed.";
        TrialNoNetwork = 603, "trial_no_network", "The new image had no network in time, so its trial says nothing about it.";
        TrialTimeout = 604, "trial_timeout", "The new image did not prove itself in time.";
        BootloaderRefused = 605, "bootloader_refused", "The bootloader did not start the new image.";
        RolledBackByBootloader = 606, "rolled_back_by_bootloader", "The bootloader gave the new image up.";
        TrialImageLost = 607, "trial_image_lost", "The slot on trial does not hold the image any more.";
    }
    /// Somebody or something decided against going on.
    Control {
        Cancelled = 700, "cancelled", "The update was cancelled.";
        Superseded = 701, "superseded", "A newer wish replaced this one.";
        DeadlinePassed = 702, "deadline_passed", "The wish's deadline has passed.";
        NotYet = 703, "not_yet", "The wish is not to be started yet.";
        RetriesExhausted = 704, "retries_exhausted", "All quick retries failed; the device tries again every hour.";
        Busy = 705, "busy", "The application does not allow an update now.";
        LowResources = 706, "low_resources", "The device is short of memory or power.";
        TrialOpen = 707, "trial_open", "The device is trying another image; this wish waits.";
        TimeUnknown = 708, "time_unknown", "The device does not know the time that the wish depends on.";
        KeyRevoked = 709, "key_revoked", "The key that signed the package was revoked meanwhile; package the image again under a key that counts.";
        BegunTooOften = 710, "begun_too_often", "Packages that are not new to this device were begun over and over; to spare the flash, it waits up to an hour.";
    }
    /// A message is not taken.
    Message {
        MessageMalformed = 800, "message_malformed", "The message is not what it should be.";
        MessageTooLarge = 801, "message_too_large", "The message is too long.";
        RetainedCommand = 802, "retained_command", "Commands must not be retained messages.";
        KeysMalformed = 803, "keys_malformed", "The message is no key record; make one with `otaria key rotate`.";
        KeysProduct = 804, "keys_product", "The key record is for another product.";
        KeysEpoch = 805, "keys_epoch", "The key record is not newer than the one that this device goes by.";
        KeysUnknownRoot = 806, "keys_unknown_root", "The key record is signed by no root key of this device.";
        KeysBadSignature = 807, "keys_bad_signature", "The key record's signature is wrong: the record is damaged or forged.";
        KeysTooMany = 808, "keys_too_many", "Too many key records came at once, and this one was not looked at; send it again in a minute.";
    }
    /// The program is wrong.
    Logic {
        LogicBug = 900, "logic_bug", "The device came to a state that cannot be; please report this.";
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
