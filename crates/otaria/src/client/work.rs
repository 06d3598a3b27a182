//! Packages, keys, jobs, rollouts, commands.

use std::io::Read;
use std::path::Path;

use anyhow::Context as _;
use otaria_server::model::{
    Assignment, Cancelled, KeyEpoch, NewCommand, NewJob, Package, Page, Plan, PlanRequest,
    Published, PublishedKeys, ReceivedLine, Rollout, RolloutAction, RolloutDevice, RolloutSpec,
    Sent,
};
use otaria_wire::Sha256Digest;
use ureq::SendBody;

use super::{Client, PAGE, escape, read};

impl Client {
    /// Uploads a package; one that the server has already is not an error.
    pub(crate) fn upload(&self, package: impl Read, len: u64) -> anyhow::Result<Package> {
        let request = self
            .agent
            .post(self.url("packages"))
            .header("Content-Type", "application/octet-stream")
            .header("Content-Length", len.to_string())
            // A server that does not take it says so before all of it is sent.
            .header("Expect", "100-continue")
            .config()
            .timeout_recv_response(None)
            .build();
        let mut package = package;
        let answer = self.answer(request.send(SendBody::from_reader(&mut package)))?;
        read(answer)
    }

    pub(crate) fn upload_file(&self, path: &Path) -> anyhow::Result<Package> {
        let file =
            std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let len = file
            .metadata()
            .with_context(|| format!("cannot read {}", path.display()))?
            .len();
        self.upload(file, len)
    }

    /// The newest key record of each product.
    pub(crate) fn keys(&self) -> anyhow::Result<Vec<KeyEpoch>> {
        self.list("keys", &[])
    }

    pub(crate) fn publish_keys(&self, record: &[u8]) -> anyhow::Result<PublishedKeys> {
        let request = self
            .agent
            .put(self.url("keys"))
            .content_type("application/octet-stream");
        read(self.answer(request.send(record))?)
    }

    pub(crate) fn package(&self, digest: &Sha256Digest) -> anyhow::Result<Package> {
        self.get(&format!("packages/{digest}"))
    }

    pub(crate) fn plan_rollout(&self, request: &PlanRequest) -> anyhow::Result<Plan> {
        self.post("rollouts/plan", request)
    }

    pub(crate) fn create_rollout(&self, spec: &RolloutSpec) -> anyhow::Result<Rollout> {
        self.post("rollouts", spec)
    }

    pub(crate) fn rollout(&self, id: &str) -> anyhow::Result<Rollout> {
        self.get(&format!("rollouts/{}", escape(id)))
    }

    pub(crate) fn rollouts(&self) -> anyhow::Result<Vec<Rollout>> {
        self.list("rollouts", &[])
    }

    pub(crate) fn rollout_devices(&self, id: &str) -> anyhow::Result<Vec<RolloutDevice>> {
        self.list(&format!("rollouts/{}/devices", escape(id)), &[])
    }

    pub(crate) fn tell_rollout(&self, id: &str, action: RolloutAction) -> anyhow::Result<Rollout> {
        let path = format!("rollouts/{}/{}", escape(id), action.name());
        self.post(&path, &serde_json::json!({}))
    }

    pub(crate) fn publish(&self, job: &NewJob) -> anyhow::Result<Published> {
        self.post("jobs", job)
    }

    pub(crate) fn job_devices(&self, job: &str) -> anyhow::Result<Vec<Assignment>> {
        self.list(&format!("jobs/{}/devices", escape(job)), &[])
    }

    pub(crate) fn cancel(&self, id: &str) -> anyhow::Result<Cancelled> {
        self.post(
            &format!("devices/{}/cancel", escape(id)),
            &serde_json::json!({}),
        )
    }

    pub(crate) fn command(&self, id: &str, command: &NewCommand) -> anyhow::Result<Sent> {
        self.post(&format!("devices/{}/commands", escape(id)), command)
    }

    /// The newest log lines that the server has, newest first.
    pub(crate) fn logs(&self, id: &str, limit: usize) -> anyhow::Result<Vec<ReceivedLine>> {
        let page: Page<ReceivedLine> = self.get(&format!(
            "devices/{}/logs?limit={}",
            escape(id),
            limit.clamp(1, PAGE)
        ))?;
        Ok(page.items)
    }
}
