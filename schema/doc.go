// Package schema reads FOGIS match lists and builds and reads the messages
// that subscribers parse. It is the one place that knows their format.
//
// # Match lists
//
// DecodeMatches and ParseMatches take a list in any of its three forms and
// check it in one pass: that it is JSON, that each match has an id of its own,
// and that the fields that subscribers use have their types. A list has limits
// (MaxListBytes, MaxMatches, MaxPeople, MaxFields, MaxDepth; numbers of 1,000 characters and
// with exponents of three digits). What they do not
// know passes through: a Match keeps its bytes exactly as they were given, and
// nothing in this package ever re-encodes them. A thousand matches (5 MB) take
// about 15 ms.
//
// # Messages
//
// NewMatchUpdate, NewStatus and NewAlert each take one struct and return a
// Message, whose Bytes are final: they carry their message_id (a UUID of
// version 7, minted once and kept through every repeat) and their time. Decode
// reads a message back; its MatchUpdate, Status and Alert methods read the
// payload. Validate checks a message that comes from elsewhere.
//
// The same rules stand in the JSON Schemas (JSONSchema), for programs in other
// languages. They are draft 2020-12, where 1.0 counts as an integer; for ids
// this package is stricter, and it also refuses two matches with one id.
//
// # Privacy
//
// Matches hold phone numbers and addresses of real persons. The errors of this
// package name fields, indices and match ids, and no other value. A
// DetailedChange does hold values, since subscribers need them: never log it.
package schema
