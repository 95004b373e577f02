package redistest

import (
	"context"
	"strings"
	"testing"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// Proxy stands between a client and a server and does to their connections what networks do.
type Proxy struct {
	t     testing.TB
	proxy *toxiproxy.Proxy
}

// Leaks is what a TestMain whose tests use proxies passes to goleak, with
// options of its own: it excuses the goroutines that toxiproxy leaves behind
// when a connection breaks while a toxic is removed.
func Leaks(more ...goleak.Option) []goleak.Option {
	for _, function := range []string{".(*ToxicLink).read", ".(*ToxicLink).write", "/toxics.(*ToxicStub).Run"} {
		more = append(more, goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2"+function))
	}
	return more
}

// NewProxy forwards a port of its own to a server.
func NewProxy(t testing.TB, upstream string) *Proxy {
	t.Helper()
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), "redis", "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &Proxy{t, p}
}

// Addr is host:port of the proxy.
func (p *Proxy) Addr() string { return p.proxy.Listen }

// CutReplies closes each connection at the next reply, which the client never sees although the server has run the command.
func (p *Proxy) CutReplies() {
	p.t.Helper()
	toxic := `{"name":"cut","type":"limit_data","stream":"downstream","attributes":{"bytes":0}}`
	if _, err := p.proxy.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
		p.t.Fatal(err)
	}
}

// Heal lets everything through again.
func (p *Proxy) Heal() { p.proxy.Toxics.ResetToxics(context.Background()) }
