-- A few years of use, about 50 MB: enough that a backup and a restore are worth looking at.
SET synchronous_commit = off;
INSERT INTO media ("familyId", "mimeType", "sizeBytes", checksum, "avStatus")
SELECT f.id, 'image/jpeg', 100000 + n * 37, sha256(n::text::bytea), 'clean'
FROM families f, generate_series(1, 10000) n;
INSERT INTO task_logs ("taskId", "userId", action, metadata, "createdAt")
SELECT t.id, t.assignees[1], (ARRAY['claimed', 'done', 'approved', 'commented'])[1 + n % 4],
       jsonb_build_object('n', n, 'note', md5(n::text || t.id), 'photo', n % 5 = 0), now() - n * interval '11 minutes'
FROM tasks t, generate_series(1, 15000) n;
INSERT INTO notifications ("userId", kind, payload, "readAt", "createdAt")
SELECT u.id, 'task.done', jsonb_build_object('title', format('Task %s is done', n), 'by', md5(n::text)),
       CASE WHEN n % 7 > 0 THEN now() END, now() - n * interval '9 minutes'
FROM users u, generate_series(1, 8000) n;
INSERT INTO audit_log ("actorUserId", "familyId", action, meta, "createdAt")
SELECT u.id, u."familyId", 'login', jsonb_build_object('ip', format('10.0.%s.%s', n % 250, n % 199), 'agent', md5((n * 7)::text)), now() - n * interval '30 minutes'
FROM users u, generate_series(1, 6000) n;
INSERT INTO points_ledger ("userId", delta, reason, "createdAt")
SELECT u.id, 1 + n % 20, 'task approved', now() - n * interval '2 hours' FROM users u, generate_series(1, 3000) n;
ANALYZE;
