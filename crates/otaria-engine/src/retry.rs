//! What becomes of a failure: the one place that says which are tried again and which are final.

use otaria_wire::messages::{EventKind, FailureCode};

/// What becomes of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It may pass: tried again with backoff, then slowly, as long as the wish stands.
    Transient,
    /// Tried again this many times, then it is final: trying for ever would wear the flash or the link for nothing.
    Again(u8),
    /// Trying again cannot help.
    Final,
}

/// What becomes of a failure before or while a package is fetched, verified and activated.
#[must_use]
pub const fn disposition(code: FailureCode) -> Disposition {
    use Disposition::{Again, Final, Transient};
    match code {
        // The header is authentic and not for us, or not authentic at all. The file would have to change, which is a new wish.
        FailureCode::NotAPackage
        | FailureCode::UnsupportedVersion
        | FailureCode::UnsupportedFlags
        | FailureCode::UnsupportedCodec
        | FailureCode::UnsupportedCipher
        | FailureCode::HeaderMalformed
        | FailureCode::UnknownKey
        | FailureCode::BadSignature
        | FailureCode::WrongProduct
        | FailureCode::WrongChip
        | FailureCode::WrongChipRevision
        | FailureCode::ImageTooLarge
        | FailureCode::SequenceNotHigher
        | FailureCode::SecurityVersionTooLow
        | FailureCode::UnguardedRefused
        | FailureCode::DeclaredVersionDiffers
        | FailureCode::DeclaredImageDiffers
        | FailureCode::Quarantined
        | FailureCode::BaseMismatch
        | FailureCode::UnsupportedSignatureAlgorithm
        | FailureCode::NotARecipient
        | FailureCode::EncryptionRequired
        | FailureCode::NotEnoughSignatures => Final,

        // The signer vouches for table and recipients, so wrong ones were damaged on the way.
        FailureCode::TableHash | FailureCode::RecipientsHash => Again(2),
        // The download itself has fetched the block a second time before it says this.
        FailureCode::BlockHash => Final,
        // The signer vouches for bytes that cannot be used.
        FailureCode::TableMalformed
        | FailureCode::BlockLength
        | FailureCode::Decode
        | FailureCode::ContentKey
        | FailureCode::Decrypt => Final,

        // What was written is not what is read: flash may have failed once. All blocks are fetched again.
        FailureCode::ImageHash => Again(1),
        FailureCode::ImageMalformed
        | FailureCode::DescriptorMismatch
        | FailureCode::GuardMissing => Final,

        FailureCode::Dns
        | FailureCode::Connect
        | FailureCode::Tls
        | FailureCode::TlsNoCertificate
        | FailureCode::TlsExpired
        | FailureCode::TlsWrongName
        | FailureCode::TlsUnknownAuthority
        | FailureCode::TlsNotAnAuthority
        | FailureCode::TlsBadCertificate
        | FailureCode::TlsRefused
        | FailureCode::TlsNoMemory
        | FailureCode::TimeoutConnect
        | FailureCode::TimeoutHead
        | FailureCode::Stalled
        | FailureCode::EarlyClose
        | FailureCode::HttpStatus
        | FailureCode::HttpMalformed
        | FailureCode::HeadTooLarge
        | FailureCode::TooManyRedirects
        | FailureCode::NoNetwork => Transient,
        // The file or the server contradicts itself. Once may be a change at the wrong moment.
        FailureCode::RangeMismatch | FailureCode::LengthMismatch => Again(2),
        FailureCode::ContentChanged => Again(3),
        FailureCode::RedirectRefused | FailureCode::UrlInvalid | FailureCode::UrlRefused => Final,

        FailureCode::FlashErase
        | FailureCode::FlashWrite
        | FailureCode::FlashRead
        | FailureCode::OtadataWrite => Again(2),
        FailureCode::JournalFull => Again(1),

        // A trial ends by its own rules (`guard`, `machine::trial`).
        FailureCode::TrialCrashed
        | FailureCode::TrialBootsExhausted
        | FailureCode::HealthCheckFailed
        | FailureCode::TrialNoNetwork
        | FailureCode::TrialTimeout
        | FailureCode::BootloaderRefused
        | FailureCode::RolledBackByBootloader
        | FailureCode::TrialImageLost => Final,

        FailureCode::Busy
        | FailureCode::LowResources
        | FailureCode::NotYet
        | FailureCode::TimeUnknown
        | FailureCode::TrialOpen
        | FailureCode::BegunTooOften
        | FailureCode::RetriesExhausted => Transient,
        FailureCode::Cancelled
        | FailureCode::Superseded
        | FailureCode::DeadlinePassed
        | FailureCode::KeyRevoked => Final,

        FailureCode::MessageMalformed
        | FailureCode::MessageTooLarge
        | FailureCode::RetainedCommand
        | FailureCode::KeysMalformed
        | FailureCode::KeysProduct
        | FailureCode::KeysEpoch
        | FailureCode::KeysUnknownRoot
        | FailureCode::KeysBadSignature
        | FailureCode::KeysTooMany
        | FailureCode::LogicBug => Final,
    }
}

/// The event that reports a final failure: `refused` if nothing was begun because of what the package or the message is,
/// `cancelled` and `superseded` for decisions of people, `failed` for everything else.
#[must_use]
pub fn final_event(code: FailureCode) -> EventKind {
    use otaria_wire::messages::FailureGroup as Group;
    match code {
        FailureCode::Cancelled | FailureCode::KeyRevoked => EventKind::Cancelled,
        FailureCode::Superseded => EventKind::Superseded,
        FailureCode::RedirectRefused | FailureCode::UrlInvalid | FailureCode::UrlRefused => {
            EventKind::Refused
        }
        other => match other.group() {
            Group::Header | Group::Message => EventKind::Refused,
            Group::Block
            | Group::Image
            | Group::Transport
            | Group::Flash
            | Group::Control
            | Group::Logic => EventKind::Failed,
            Group::Trial => EventKind::RolledBack,
        },
    }
}

/// Whether a final failure says that the package itself is bad, or unwanted, so that the same job must not bring it again after
/// a restart.
#[must_use]
pub const fn condemns(code: FailureCode) -> bool {
    match code {
        FailureCode::TableMalformed
        | FailureCode::BlockLength
        | FailureCode::Decode
        | FailureCode::Decrypt
        | FailureCode::ImageHash
        | FailureCode::ImageMalformed
        | FailureCode::DescriptorMismatch
        | FailureCode::GuardMissing
        | FailureCode::TrialCrashed
        | FailureCode::TrialBootsExhausted
        | FailureCode::HealthCheckFailed
        | FailureCode::TrialNoNetwork
        | FailureCode::TrialTimeout
        | FailureCode::BootloaderRefused
        | FailureCode::RolledBackByBootloader
        | FailureCode::TrialImageLost
        | FailureCode::Cancelled => true,
        FailureCode::NotAPackage
        | FailureCode::UnsupportedVersion
        | FailureCode::UnsupportedFlags
        | FailureCode::UnsupportedCodec
        | FailureCode::UnsupportedCipher
        | FailureCode::HeaderMalformed
        | FailureCode::UnknownKey
        | FailureCode::BadSignature
        | FailureCode::WrongProduct
        | FailureCode::WrongChip
        | FailureCode::WrongChipRevision
        | FailureCode::ImageTooLarge
        | FailureCode::SequenceNotHigher
        | FailureCode::SecurityVersionTooLow
        | FailureCode::UnguardedRefused
        | FailureCode::DeclaredVersionDiffers
        | FailureCode::DeclaredImageDiffers
        | FailureCode::Quarantined
        | FailureCode::BaseMismatch
        | FailureCode::UnsupportedSignatureAlgorithm
        | FailureCode::NotARecipient
        | FailureCode::EncryptionRequired
        | FailureCode::NotEnoughSignatures
        | FailureCode::TableHash
        | FailureCode::RecipientsHash
        | FailureCode::BlockHash
        // With the right key in its settings the device can open it.
        | FailureCode::ContentKey
        | FailureCode::Dns
        | FailureCode::Connect
        | FailureCode::Tls
        | FailureCode::TlsNoCertificate
        | FailureCode::TlsExpired
        | FailureCode::TlsWrongName
        | FailureCode::TlsUnknownAuthority
        | FailureCode::TlsNotAnAuthority
        | FailureCode::TlsBadCertificate
        | FailureCode::TlsRefused
        | FailureCode::TlsNoMemory
        | FailureCode::TimeoutConnect
        | FailureCode::TimeoutHead
        | FailureCode::Stalled
        | FailureCode::EarlyClose
        | FailureCode::HttpStatus
        | FailureCode::HttpMalformed
        | FailureCode::HeadTooLarge
        | FailureCode::TooManyRedirects
        | FailureCode::RedirectRefused
        | FailureCode::UrlInvalid
        | FailureCode::UrlRefused
        | FailureCode::RangeMismatch
        | FailureCode::LengthMismatch
        | FailureCode::ContentChanged
        | FailureCode::NoNetwork
        | FailureCode::FlashErase
        | FailureCode::FlashWrite
        | FailureCode::FlashRead
        | FailureCode::JournalFull
        | FailureCode::OtadataWrite
        | FailureCode::Superseded
        | FailureCode::DeadlinePassed
        | FailureCode::NotYet
        | FailureCode::RetriesExhausted
        | FailureCode::Busy
        | FailureCode::LowResources
        | FailureCode::TrialOpen
        | FailureCode::TimeUnknown
        | FailureCode::KeyRevoked
        | FailureCode::BegunTooOften
        | FailureCode::MessageMalformed
        | FailureCode::MessageTooLarge
        | FailureCode::RetainedCommand
        | FailureCode::KeysMalformed
        | FailureCode::KeysProduct
        | FailureCode::KeysEpoch
        | FailureCode::KeysUnknownRoot
        | FailureCode::KeysBadSignature
        | FailureCode::KeysTooMany
        | FailureCode::LogicBug => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_final_failure_is_reported_by_a_final_event() {
        for &code in FailureCode::ALL {
            assert!(final_event(code).is_final(), "{code}");
        }
    }

    #[test]
    fn nothing_that_may_pass_condemns_a_package() {
        for &code in FailureCode::ALL {
            if disposition(code) == Disposition::Transient {
                assert!(!condemns(code), "{code}");
            }
        }
    }
}
