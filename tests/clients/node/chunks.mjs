// The same chunks as the openai package gives of an answer's stream, each with its place: what a resume needs.

export async function* chunks(response, place) {
  let rest = "";
  for await (const bytes of response.body.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + bytes).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("id: ")) place.id = line.slice(4);
      if (line.startsWith("data: {")) yield JSON.parse(line.slice(6));
    }
  }
}
