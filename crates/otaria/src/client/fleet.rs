//! Devices and groups.

use otaria_server::model::{Device, Group, GroupQuery, Groups, Note, TagChanges, Update};

use super::{Client, escape, read};

impl Client {
    /// All devices, or those of a group, or those that match a query.
    pub(crate) fn devices(
        &self,
        group: Option<&str>,
        query: Option<&str>,
    ) -> anyhow::Result<Vec<Device>> {
        let filters = [("group", group), ("query", query)];
        let given: Vec<_> = filters
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        self.list("devices", &given)
    }

    pub(crate) fn device(&self, id: &str) -> anyhow::Result<Device> {
        self.get(&format!("devices/{}", escape(id)))
    }

    pub(crate) fn forget(&self, id: &str) -> anyhow::Result<()> {
        self.delete(&format!("devices/{}", escape(id)))
    }

    pub(crate) fn set_groups(&self, id: &str, groups: &[String]) -> anyhow::Result<()> {
        let groups = Groups {
            groups: groups.to_vec(),
        };
        let url = self.url(&format!("devices/{}/groups", escape(id)));
        self.answer(self.agent.put(&url).send_json(&groups))
            .map(drop)
    }

    pub(crate) fn change_tags(&self, id: &str, changes: &TagChanges) -> anyhow::Result<Device> {
        let url = self.url(&format!("devices/{}/tags", escape(id)));
        read(self.answer(self.agent.patch(&url).send_json(changes))?)
    }

    pub(crate) fn set_note(&self, id: &str, note: &str) -> anyhow::Result<Device> {
        let note = Note {
            note: note.to_owned(),
        };
        let url = self.url(&format!("devices/{}/note", escape(id)));
        read(self.answer(self.agent.put(&url).send_json(&note))?)
    }

    /// A device's updates, newest first.
    pub(crate) fn updates(&self, id: &str) -> anyhow::Result<Vec<Update>> {
        self.list(&format!("devices/{}/updates", escape(id)), &[])
    }

    pub(crate) fn groups(&self) -> anyhow::Result<Vec<Group>> {
        self.list("groups", &[])
    }

    pub(crate) fn set_group_query(&self, name: &str, query: &str) -> anyhow::Result<Group> {
        let query = GroupQuery {
            query: query.to_owned(),
        };
        let url = self.url(&format!("groups/{}", escape(name)));
        read(self.answer(self.agent.put(&url).send_json(&query))?)
    }

    pub(crate) fn remove_group(&self, name: &str) -> anyhow::Result<()> {
        self.delete(&format!("groups/{}", escape(name)))
    }
}
