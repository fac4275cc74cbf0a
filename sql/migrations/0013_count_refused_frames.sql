-- A flood of refused frames is sampled: one row may stand for many frames of one 5 s window.
alter table market.rejected_frames
add column frames integer not null default 1 check (frames > 0),
add column last_received_at timestamptz;
comment on column market.rejected_frames.frames is
'Refused frames that the row stands for: 1; or those of a kind and 5 s window that were not kept, without frame.';
comment on column market.rejected_frames.last_received_at is
'Of a row that stands for several: when the last of them came; received_at is the first.';

-- Rows without a frame differ by what they count.
create unique index rejected_frames_frame_and_error
on market.rejected_frames (venue, received_at, sha256(frame), md5(error));
drop index market.rejected_frames_frame;
