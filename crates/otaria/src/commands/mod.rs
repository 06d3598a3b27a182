//! One file a command. Each is a clap `Args` struct with `run(self, &Context) -> anyhow::Result<()>`; one that needs
//! the network is `async fn run` and is called in [`Command::run`](crate::cli::Command::run) as
//! `runtime()?.block_on(command.run(ctx))`.

pub(crate) mod cancel;
pub(crate) mod demo;
pub(crate) mod device;
pub(crate) mod devices;
pub(crate) mod inspect;
pub(crate) mod keygen;
pub(crate) mod logs;
pub(crate) mod package;
pub(crate) mod provision;
pub(crate) mod publish;
pub(crate) mod serve;
pub(crate) mod simulate;
pub(crate) mod verify;
pub(crate) mod watch;

/// The runtime of the commands that use the network.
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}
