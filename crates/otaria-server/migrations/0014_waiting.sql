-- What waits for a webhook, among all that it was told in the last week.
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (webhook, id) WHERE state = 'waiting';
