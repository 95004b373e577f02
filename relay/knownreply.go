package relay

import (
	"regexp"
	"strings"
	"sync"
)

// knownPhrases are what Redis, Valkey, KeyDB, Sentinels and Clusters say in error replies that a relay or a reader of streams may
// meet, in all versions since 5. In them <redis> is a server's name, <command> a command that the client gives, <address> one in
// digits. Names of users, keys and consumer groups are in none.
var knownPhrases = []string{
	// state
	`<redis> is loading the dataset in memory`,
	`<redis> is busy running a (?:script|module command)\.?`, `You can only call (?:SCRIPT KILL|FUNCTION KILL) or SHUTDOWN NOSAVE\.?`,
	`You can't write against a read only (?:replica|slave)\.?`,
	`Link with MASTER is down and (?:replica|slave)-serve-stale-data is set to 'no'\.?`,
	`Not enough good (?:replicas|slaves) to write\.?`,
	`command not allowed when used memory > 'maxmemory'\.?`, `command not allowed when used memory`, `command not allowed`,
	`<redis> is configured to save RDB snapshots, but (?:it's|it is|is) currently (?:unable|not able) to persist (?:to|on) disk\.?`,
	`Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails \(stop-writes-on-bgsave-error option\)\.?`,
	`Please check the <redis> logs for details about the RDB error\.?`,
	`Errors writing to the AOF file`,
	`No space left on device|Disk quota exceeded|Input/output error|Read-only file system|Permission denied|File too large|Stale file handle`,
	`max number of clients(?: \+ cluster connections)? reached`,
	`The cluster is down(?: and only accepts read commands)?`, `Hash slot not served`, `Multiple keys request during rehashing of slot`,
	`(?:MOVED|ASK) \d{1,5}(?: <address>)?`, `This instance has cluster support disabled`,
	`Keys in request don't hash to the same slot`, `Attempted to access keys that don't hash to the same slot`,
	`Script attempted to access (?:a non local key in a cluster node|keys that do not hash to the same slot)`,
	`SELECT is not allowed in cluster mode`, `(?:DB index is out of range|invalid DB index)`,
	`No such master with that name`, `I have not enough information to reply\. Please ask another Sentinel\.?`,
	`client unblocked via CLIENT UNBLOCK`, `force unblock from blocking operation, instance state changed \(master -> replica\?\)`,
	// credentials and rights
	`Authentication required\.?`, `invalid username-password pair(?: or user is disabled)?\.?`, `invalid password`, `operation not permitted`,
	`HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time`,
	`AUTH failed`, `(?:AUTH )?(?:<password> )?called without any password configured for the default user\.?`,
	`Are you sure your configuration is correct\?`, `Client sent AUTH, but no password is set`,
	`unauthenticated (?:multibulk|bulk) length`,
	`<redis> is running in protected mode because protected mode is enabled(?: and)?`,
	`no (?:bind address was specified, no )?(?:authentication )?password is (?:requested to clients|set for the default user)\.?`,
	`In this mode connections are only accepted from the loopback interface\.?`, `If you want to connect from external computers`,
	`\bUser default\b`, `\b(?:this )?user\b`, `has no permissions to run the '<command>' command(?: or its subcommand)?`, `has no permissions to run the`,
	`has no permissions to access (?:one of )?the (?:keys|channels)?(?: used as arguments)?`, `No permissions to access a (?:key|channel)`,
	`The user executing the script can't (?:run this command or subcommand|access at least one of the keys mentioned in the command arguments|publish to the channel mentioned in the command)`,
	`ACL failure in script`,
	// commands
	"unknown command ['`]<command>['`](?:, with args)?", `Unknown (?:<redis> )?command called from (?:Lua )?script`, `unknown command`, `with args`,
	`Unknown subcommand or wrong number of arguments for '<command>'\.?`, `unknown subcommand '<command>'\.?`, `unknown subcommand`, `Try <command> HELP\.?`,
	`wrong number of arguments for '<command>' command`, `wrong number of arguments`,
	`This <redis> command is not allowed from scripts?`,
	`Write commands are not allowed (?:from read-only scripts|after non deterministic commands)\.?`,
	`Syntax error in HELLO option`, `unsupported protocol version`, `Protocol error`, `invalid (?:multi)?bulk length`, `too big (?:mbulk count|bulk count|inline request)`,
	`syntax error`, `no such key`, `value is not an integer or out of range`, `index out of range`,
	`Operation against a key holding the wrong kind of value`, `Target key name already exists\.?`,
	`string exceeds maximum allowed size \((?:proto-max-bulk-len|512MB)\)`, `Transaction discarded because of previous errors\.?`,
	// scripts
	`No matching script\.?(?: Please use EVAL\.?)?`, `Error running script`, `call to f_<script>`, `@?user_script: ?\d+`, `script: <script>, on @user_script:\d+`,
	`\bon @user_script:\d+`, `\bscript:`, `Script killed by user with SCRIPT KILL(?:\.{3})?`, `Error compiling script`,
	// streams
	`The ID specified in XADD is equal or smaller than the target stream top item`, `The ID specified in XADD must be greater than 0-0`,
	`Invalid stream ID specified as stream command argument`, `Consumer Group name already exists`,
	`No such key`, `or consumer group`, `in XREADGROUP with GROUP option`,
	`The XGROUP subcommand requires the key to exist\.?`, `Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically\.?`,
}

// codes are those that stand before a phrase, where it comes from within a script or is quoted by somebody else.
const codes = `-?\b(?:ERR|OOM|MISCONF|LOADING|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS|BUSY|NOAUTH|WRONGPASS|DENIED|NOPERM|WRONGTYPE|CROSSSLOT|NOSCRIPT)\b`

// known finds the phrases, the codes, and at the beginning any word in capitals: a code that is new.
var known = sync.OnceValue(func() *regexp.Regexp {
	commands := []string{"auth", "ping", "select", "readonly", "eval", "client", "cluster", "config", "script", "pubsub", "xinfo", "xread", "xrange",
		"xgroup", `xgroup\|(?:create|setid)`, "list", "slots", "numsub", "groups", "load", "get", "[ps]?subscribe", "sentinel", `sentinel\|(?:get-master-addr-by-name|sentinels)`}
	for _, n := range needs {
		commands = append(commands, regexp.QuoteMeta(strings.TrimPrefix(n.Right, "+")))
	}
	scripts := examineScript.Hash()
	for _, s := range ourScripts {
		scripts += "|" + s.Hash()
	}
	return regexp.MustCompile(`(?i:` + strings.NewReplacer(
		"<redis>", `(?:Redis|Valkey|KeyDB|(?:the )?server)`,
		"<command>", "(?:"+strings.Join(commands, "|")+")",
		"<address>", `[0-9]{1,3}(?:\.[0-9]{1,3}){3}:[0-9]{1,5}`,
		"<script>", "(?:"+scripts+")",
	).Replace(strings.Join(knownPhrases, "|")) + `)|` + codes + `|^-?[A-Z]{2,20}(?:$|\b)`)
})

// wordsOf is what may be shown of an error reply: what is known to be a server's own words. The rest could be anything that it was
// given, a password for one.
func wordsOf(reply string) string {
	reply = reply[:min(len(reply), 4*shownOfReply)]
	var b strings.Builder
	end := 0
	for _, at := range append(known().FindAllStringIndex(reply, -1), []int{len(reply), len(reply)}) {
		if between := reply[end:at[0]]; strings.Trim(between, " .,:;-()") == "" {
			b.WriteString(between)
		} else {
			b.WriteString(" " + notShown + " ")
		}
		b.WriteString(reply[at[0]:at[1]])
		end = at[1]
	}
	return strings.TrimSpace(b.String())
}
