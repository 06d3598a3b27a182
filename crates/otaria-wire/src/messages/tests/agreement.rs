//! Any report, written and read by either library.

use proptest::option::of;
use proptest::prelude::*;

use super::*;

fn agree<T: ReadJson + WriteJson + Serialize + DeserializeOwned + PartialEq + core::fmt::Debug>(
    message: &T,
) -> Result<(), TestCaseError> {
    let ours = json_of(message);
    prop_assert_eq!(&from_json::<T>(ours.as_bytes()).unwrap(), message);
    prop_assert_eq!(&serde_json::from_str::<T>(&ours).unwrap(), message);
    let theirs = serde_json::to_string(message).unwrap();
    prop_assert_eq!(&from_json::<T>(theirs.as_bytes()).unwrap(), message);
    Ok(())
}

fn job() -> impl Strategy<Value = Option<Job>> {
    of(".{0,24}".prop_map(|job| crate::clip(&job)))
}

fn fixed() -> impl Strategy<Value = FixedText<32>> {
    "[ -~]{0,32}".prop_map(|text| FixedText::try_from(text.as_str()).unwrap())
}

fn phase() -> impl Strategy<Value = Phase> {
    proptest::sample::select(
        &[
            Phase::Idle,
            Phase::Checking,
            Phase::Downloading,
            Phase::Trial,
            Phase::Unknown,
        ][..],
    )
}

prop_compose! {
    fn any_state()(
        (device, product, version, image) in ("[A-Za-z0-9_-]{1,40}", fixed(), fixed(), any::<[u8; 32]>()),
        (sequence, security_version, chip_rev, slot) in any::<(u64, u32, u16, u8)>(),
        (trial, reset, boot, uptime_s) in (of(any::<(u8, u8)>()), 0..8u8, any::<u32>(), any::<u32>()),
        (heap_free, heap_min, rssi, ip) in (any::<u32>(), any::<u32>(), of(any::<i8>()), of("[0-9a-f:.]{0,45}")),
        (bootloader_rollback, job, phase) in (of(any::<bool>()), job(), phase()),
        keys in of((any::<u32>(), any::<u8>(), proptest::collection::vec(any::<[u8; 8]>(), 0..=4))),
    ) -> State {
        State {
            device: DeviceId::new(&device).unwrap(),
            product,
            version,
            image_sha256: Sha256Digest(image),
            sequence,
            security_version,
            chip: text("esp32c3"),
            chip_rev,
            slot,
            trial: trial.map(|(boots, crashes)| Trial { boots, crashes }),
            reset: ResetReason::from_number(reset),
            boot,
            uptime_s,
            heap_free,
            heap_min,
            rssi,
            ip: ip.map(|ip| text(&ip)),
            bootloader_rollback,
            job,
            phase,
            keys: keys.map(|(epoch, threshold, ids)| TrustedKeys {
                epoch,
                threshold,
                ids: ids.into_iter().map(KeyId).collect(),
            }),
        }
    }
}

prop_compose! {
    fn any_event()(
        (install, boot, n, job) in (any::<u64>(), any::<u32>(), any::<u32>(), job()),
        (kind, code, why, retry_in_s) in (0..=14u8, of(any::<u16>()), of(".{0,60}"), of(any::<u32>())),
        timing in of((any::<[u32; 9]>(), of(any::<i8>()), of(any::<u32>()), of(any::<u32>()))),
    ) -> Event {
        Event {
            install: InstallId(install),
            boot,
            n,
            job,
            event: EventKind::from_number(kind).unwrap_or(EventKind::Unknown),
            code,
            text: why.map(|why| crate::clip(&why)),
            retry_in_s,
            timing: timing.map(|(ms, rssi, confirm_ms, reconnects)| Timing {
                connect_ms: ms[0],
                tls_ms: ms[1],
                receive_ms: ms[2],
                erase_ms: ms[3],
                write_ms: ms[4],
                verify_ms: ms[5],
                total_ms: ms[6],
                bytes: ms[7],
                heap_min: ms[8],
                rssi,
                confirm_ms,
                reconnects,
            }),
        }
    }
}

proptest! {
    #[test]
    fn states_agree(state in any_state()) {
        agree(&state)?;
    }

    #[test]
    fn events_agree(event in any_event()) {
        agree(&event)?;
    }

    #[test]
    fn progress_and_log_lines_agree(
        job in job(), phase in phase(), bytes in any::<[u32; 3]>(), t_ms in any::<u64>(), line in ".{0,40}",
    ) {
        let [done, total, rate] = bytes;
        agree(&Progress { job, phase, done, total, rate })?;
        agree(&LogLine { n: done, boot: total, t_ms, level: Level::Info, text: crate::clip(&line) })?;
        // Control characters too are read back as they were.
        if let Ok(text) = heapless::String::try_from(line.as_str()) {
            agree(&LogLine { n: done, boot: total, t_ms, level: Level::Info, text })?;
        }
    }

    #[test]
    fn wishes_and_commands_agree(
        job in job(), path in "[!-~]{0,40}", version in of("[ -~]{0,32}"), image in of(any::<[u8; 32]>()),
        not_before in of(any::<u64>()), deadline in of(any::<u64>()), id in ".{0,16}", lines in of(any::<u16>()),
    ) {
        agree(&Desired {
            job,
            url: text(&path),
            version: version.map(|version| text(&version)),
            image_sha256: image.map(Sha256Digest),
            not_before,
            deadline,
        })?;
        agree(&Command { id: crate::clip(&id), cmd: CommandKind::Logs, lines })?;
    }
}
