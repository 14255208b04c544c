// Five widths of an image with sharp: decoded once, each width made of the one before. Prints the CPU milliseconds of
// each image but the first, which warms up.
const sharp = require('sharp')
const { readFileSync } = require('fs')

const [file, repeat, json] = process.argv.slice(2)
const input = readFileSync(file)
const formats = JSON.parse(json) // of each format its options
sharp.concurrency(1)
sharp.cache(false)

async function derive () {
  let source = sharp(input)
  for (const width of [1600, 800, 400, 200, 100]) {
    const { data, info } = await source.resize(width).raw().toBuffer({ resolveWithObject: true })
    const raw = { raw: { width: info.width, height: info.height, channels: info.channels } }
    for (const [format, options] of Object.entries(formats)) {
      await sharp(data, raw).toFormat(format, options).toBuffer()
    }
    source = sharp(data, raw)
  }
}

async function main () {
  for (let i = 0; i <= Number(repeat); i++) {
    const before = process.cpuUsage()
    await derive()
    const { user, system } = process.cpuUsage(before)
    if (i > 0) console.log((user + system) / 1000)
  }
}

main().catch(err => { console.error(err); process.exit(1) })
