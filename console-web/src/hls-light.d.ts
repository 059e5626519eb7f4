/** hls.js ships no declarations for its light build, whose surface is the same. */
declare module 'hls.js/light' {
  export { default } from 'hls.js'
}
