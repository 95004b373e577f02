package relay_test

import (
	"context"
	"os"
	"strconv"
	"strings"
	"testing"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/PitchConnect/matchrelay/relay"
)

func cpu(pid int) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	f := strings.Fields(string(b))
	u, _ := strconv.Atoi(f[13]); s, _ := strconv.Atoi(f[14])
	return float64(u+s) / 100
}

func BenchmarkIdle(b *testing.B) {
	server := benchServer(b)
	_ = server
	bench := newBench(b)
	var pid int
	for _, line := range strings.Split(bench.client.Info(b.Context(), "server").Val(), "\r\n") {
		if v, ok := strings.CutPrefix(line, "process_id:"); ok { pid, _ = strconv.Atoi(v) }
	}
	require.NotZero(b, pid)
	for b.Loop() {
		for range 200 {
			_, err := bench.box.Add(b.Context(), kilobyteEvents(1000)...)
			require.NoError(b, err)
		}
		bench.sub.expect(200000)
		ctx, stop := context.WithCancel(b.Context())
		ended := make(chan error, 1)
		c0, own0, t0 := cpu(pid), cpu(os.Getpid()), time.Now()
		go func() {
			ended <- relay.New(bench.box, relay.NewRedis(bench.client, 5*time.Second), relay.Options{Channels: map[string]string{"news": "test:news"}}).Run(ctx)
		}()
		bench.sub.wait()
		e := time.Since(t0).Seconds()
		fmt.Printf("redis %.2f own %.2f of a core, %.2f s, %.0f/s\n", (cpu(pid)-c0)/e, (cpu(os.Getpid())-own0)/e, e, 200000/e)
		stop()
		<-ended
	}
}
