// Command bare is a processor without an outbox: it reads a match list, says so, and waits for the end of its input.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
)

func main() {
	list, err := os.ReadFile(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	var matches []json.RawMessage
	if err := json.Unmarshal(list, &matches); err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(matches), "matches")
	_, _ = io.Copy(io.Discard, os.Stdin)
}
