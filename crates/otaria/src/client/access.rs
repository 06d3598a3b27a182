//! Users, tokens, certificates, the audit trail, webhooks.

use otaria_server::model::{
    AuditPage, Credentials, CutOff, Delivery, IssuedCertificate, MadeToken, MadeWebhook,
    NewCertificate, NewPassword, NewToken, NewUser, NewWebhook, Page, Token, User, Webhook,
};

use super::{Client, PAGE, escape, read};

impl Client {
    pub(crate) fn log_in(&self, given: &Credentials) -> anyhow::Result<MadeToken> {
        self.post("login", given)
    }

    pub(crate) fn users(&self) -> anyhow::Result<Vec<User>> {
        self.list("users", &[])
    }

    pub(crate) fn add_user(&self, user: &NewUser) -> anyhow::Result<User> {
        self.post("users", user)
    }

    /// One's own, or somebody's.
    pub(crate) fn set_password(
        &self,
        user: Option<&str>,
        change: &NewPassword,
    ) -> anyhow::Result<()> {
        let url = self.url(&match user {
            Some(user) => format!("users/{}/password", escape(user)),
            None => "password".to_owned(),
        });
        self.answer(self.agent.put(&url).send_json(change))
            .map(drop)
    }

    pub(crate) fn remove_user(&self, name: &str) -> anyhow::Result<()> {
        self.delete(&format!("users/{}", escape(name)))
    }

    pub(crate) fn tokens(&self) -> anyhow::Result<Vec<Token>> {
        self.list("tokens", &[])
    }

    pub(crate) fn make_token(&self, token: &NewToken) -> anyhow::Result<MadeToken> {
        self.post("tokens", token)
    }

    pub(crate) fn revoke_token(&self, id: &str) -> anyhow::Result<()> {
        self.delete(&format!("tokens/{}", escape(id)))
    }

    /// A page of the audit trail: the entries before `after`, newest first.
    pub(crate) fn audit(&self, after: Option<&str>, limit: usize) -> anyhow::Result<AuditPage> {
        let after = after.map_or(String::new(), |after| format!("&cursor={}", escape(after)));
        self.get(&format!("audit?limit={}{after}", limit.clamp(1, PAGE)))
    }

    pub(crate) fn certify(
        &self,
        device: &str,
        request: &NewCertificate,
    ) -> anyhow::Result<IssuedCertificate> {
        let path = format!("devices/{}/certificates", escape(device));
        self.post(&path, request)
    }

    pub(crate) fn revoke(&self, device: &str) -> anyhow::Result<CutOff> {
        let url = self.url(&format!("devices/{}/certificates", escape(device)));
        read(self.answer(self.agent.delete(&url).call())?)
    }

    pub(crate) fn webhooks(&self) -> anyhow::Result<Vec<Webhook>> {
        self.list("webhooks", &[])
    }

    pub(crate) fn add_webhook(&self, webhook: &NewWebhook) -> anyhow::Result<MadeWebhook> {
        self.post("webhooks", webhook)
    }

    pub(crate) fn remove_webhook(&self, id: &str) -> anyhow::Result<()> {
        self.delete(&format!("webhooks/{}", escape(id)))
    }

    pub(crate) fn test_webhook(&self, id: &str) -> anyhow::Result<Delivery> {
        let path = format!("webhooks/{}/test", escape(id));
        self.post(&path, &serde_json::json!({}))
    }

    /// The newest messages of a webhook, newest first.
    pub(crate) fn deliveries(&self, id: &str, limit: usize) -> anyhow::Result<Vec<Delivery>> {
        let (id, limit) = (escape(id), limit.clamp(1, PAGE));
        let page: Page<Delivery> = self.get(&format!("webhooks/{id}/deliveries?limit={limit}"))?;
        Ok(page.items)
    }
}
