//! One file a command. Each is a clap `Args` struct with `run(self, &Context) -> anyhow::Result<()>`; one that needs
//! the network is `async fn run` and is called in [`Command::run`](crate::cli::Command::run) as
//! `runtime()?.block_on(command.run(ctx))`.

pub(crate) mod inspect;
pub(crate) mod keygen;
pub(crate) mod package;
pub(crate) mod verify;

/// The runtime of the commands that use the network.
#[expect(dead_code, reason = "used by the commands that talk to a server")]
pub(crate) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
}
