package redistest

import (
	"fmt"
	"strconv"
	"strings"
)

// WaitInSync returns when the server is a replica whose link to its master is
// up, and has everything that its master had when it was called.
func (s *Server) WaitInSync() {
	s.t.Helper()
	due := -1
	waitUntil(s.t, "a replica in sync", func() string {
		own, err := s.replication()
		if err != nil {
			return err.Error()
		}
		if own["role"] != "slave" || own["master_link_status"] != "up" {
			return fmt.Sprintf("%s is %s, its link %s", s.Addr(), own["role"], own["master_link_status"])
		}
		if due < 0 {
			reply, err := command(own["master_host"]+":"+own["master_port"], answerWithin, "INFO", "replication")
			if err != nil {
				return err.Error()
			}
			due = offset(sections(reply)["master_repl_offset"])
		}
		if at := offset(own["slave_repl_offset"]); at < due {
			return fmt.Sprintf("%s is at offset %d of %d", s.Addr(), at, due)
		}
		return ""
	})
}

// IsMaster says whether the server is one now, and not a replica.
func (s *Server) IsMaster() bool {
	own, err := s.replication()
	return err == nil && own["role"] == "master"
}

func (s *Server) replication() (map[string]string, error) {
	reply, err := command(s.Addr(), answerWithin, "INFO", "replication")
	return sections(reply), err
}

// sections reads the lines of INFO and CLUSTER INFO, such as role:master.
func sections(reply any) map[string]string {
	m := map[string]string{}
	text, _ := reply.(string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			m[name] = value
		}
	}
	return m
}

// offset is one of INFO, which leaves it out for some states: then it is -1.
func offset(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}
