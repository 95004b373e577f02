// Package config reads matchrelay's settings from the environment and from an
// optional .env file, checks them all, and reports every mistake at once.
//
// The struct tags of [Config] are the only table of variables: name, default,
// meaning, whether the value is a secret, and whether it has an effect in this
// version. .env.example and the README's table are generated from it:
//
//	go test ./config -update
//
// # Where a value comes from
//
// In this order, the first one that is not empty: a command-line flag (passed
// as an override), the environment, the .env file, the default. An empty value
// counts as not set, because compose files pass REDIS_PASSWORD= and the like.
//
// # How values are written
//
//	durations  plain seconds (5, 0.5) or Go's notation (500ms, 90s, 5m, 168h)
//	sizes      plain bytes (1048576) or with a unit (B, KiB, MiB, GiB, TiB)
//	switches   true/false, 1/0, yes/no, on/off
//	per topic  match_updates=1,system_alert=0 (topics left out count as 0)
//
// In a .env file a value that holds $, # or quotes belongs in single quotes.
//
// # Secrets
//
// Passwords, tokens and the credentials in URLs are of type [Secret], which
// prints as ***; no error, note or [Setting] of this package shows one.
//
// # What it does not do
//
// It opens no connection and no database, and changes no environment variable.
// It does read the certificate files that REDIS_TLS_* name, so that a wrong
// path is reported with everything else.
package config
